// Package volumes_test runs plugin volumes against a real API server.
package volumes_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "volumes"}, func(c *cluster.Cluster) { shared = c }))
}
