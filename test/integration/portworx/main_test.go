// Package portworx_test runs plugin portworx against a real API server with its Job controller. The tests play Portworx:
// the REST gateway of its SDK, its operator, its Pods, and pxctl.
package portworx_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "portworx", WithControllerManager: true}, func(c *cluster.Cluster) { shared = c }))
}
