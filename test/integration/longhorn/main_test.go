// Package longhorn_test runs plugin longhorn against a real API server, with CRDs and a webhook that behave as those of
// Longhorn.
package longhorn_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "longhorn"}, func(c *cluster.Cluster) { shared = c }))
}
