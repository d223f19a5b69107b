// Package agent_test runs the agent against a real API server, with the rights
// that the shipped manifests give it and no others.
package agent_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests in this package; each test installs into a
// namespace of its own and takes all of it away again.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	if shared, err = cluster.New(ctx, cluster.Options{Name: "agent", Output: os.Stderr}); err != nil {
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
