// Package monitoring_test has a real Prometheus scrape a real agent and the API server
// that it works with, and asks it what the alerts and the dashboard ask.
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
