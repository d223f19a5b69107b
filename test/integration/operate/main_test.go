// Package operate_test runs the commands that act on nodes, as an operator does,
// against a real API server with the real agent beside it, in this process.
package operate_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests; only TestMain writes it.
var shared *cluster.Cluster

// The controller manager computes the status of budgets; kwok plays kubelets.
func TestMain(m *testing.M) {
	options := cluster.Options{Name: "operate", WithControllerManager: true, WithKwok: true}
	os.Exit(cluster.Main(m, options, func(c *cluster.Cluster) { shared = c }))
}
