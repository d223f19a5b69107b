// Package dashboard_test looks at the dashboard in a real browser, on a real API server with a real agent.
package dashboard_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "dashboard"}, func(c *cluster.Cluster) { shared = c }))
}
