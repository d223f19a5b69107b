// Package monitoring_test runs a real Prometheus that scrapes a real agent and its API server, and
// evaluates the queries of the alerts and the dashboard.
package monitoring_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var (
	shared *cluster.Cluster
	// program is the path of Prometheus.
	program string
)

func TestMain(m *testing.M) {
	var err error
	if program, err = exec.LookPath("prometheus"); err != nil {
		fmt.Println("skipped: there is no prometheus on the PATH (Debian: apt-get install prometheus)")
		return
	}
	os.Exit(cluster.Main(m, cluster.Options{Name: "monitoring"}, func(c *cluster.Cluster) { shared = c }))
}
