// Package rookceph_test runs plugin rook-ceph against a real API server with its Job controller, and against a real
// Ceph of three OSDs. The tests play Rook's operator and the kubelet, which runs the script of the plugin.
package rookceph_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "rookceph", WithControllerManager: true}, func(c *cluster.Cluster) { shared = c }))
}
