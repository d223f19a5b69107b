// Package agent_test runs the agent against a real API server, with the rights
// that the shipped manifests give it and no others.
package agent_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests in this package. Each test installs into its own namespace
// and removes everything again.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "agent"}, func(c *cluster.Cluster) { shared = c }))
}
