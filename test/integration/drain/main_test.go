// Package drain_test drains nodes of a real API server, whose pods kwok plays.
package drain_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests in this package; each test has nodes and a
// namespace of its own.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	shared, err = cluster.New(ctx, cluster.Options{Name: "drain", Output: os.Stderr, WithControllerManager: true, WithKwok: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a cluster:", err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
		return 1
	}
	return code
}
