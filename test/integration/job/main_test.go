// Package job_test runs plugin job against a real API server with its scheduler and its Job controller.
// The tests play the kubelet.
package job_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "job", WithControllerManager: true, WithScheduler: true}, func(c *cluster.Cluster) { shared = c }))
}
