// Package guard_test runs the delete guard against a real API server, with the rights that
// the shipped manifests give the agent and no others, and with users made for the purpose.
package guard_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests in this package. Each test installs into its own namespace
// and removes everything again.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "guard"}, func(c *cluster.Cluster) { shared = c }))
}
