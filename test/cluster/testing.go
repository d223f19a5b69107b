package cluster

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Start gives a cluster for one test, which ends with it. When the test fails, the logs are kept and it says where.
// A cluster for all tests of a package is made by New in TestMain.
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	if options.Output == nil {
		options.Output = t.Output()
	}
	c, err := New(t.Context(), options)
	if err != nil {
		t.Fatalf("starting a cluster: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, c)
		}
		// The context of the test is done by now.
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	return c
}

// Main runs the tests of a package with one cluster for all of them, and gives the exit code. use gets the cluster
// before the first test. In the package's TestMain:
//
//	os.Exit(cluster.Main(m, cluster.Options{}, func(c *cluster.Cluster) { shared = c }))
func Main(m interface{ Run() int }, options Options, use func(*Cluster)) (code int) {
	ctx := context.Background()
	if options.Output == nil {
		options.Output = os.Stderr
	}
	c, err := New(ctx, options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a cluster:", err)
		return 1
	}
	defer func() {
		if err := c.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
			code = 1
		}
	}()
	use(c)
	return m.Run()
}

// keepLogs copies the logs to where Stop does not remove them.
func keepLogs(t testing.TB, c *Cluster) {
	dir, err := os.MkdirTemp("", "nodecleanup-logs-")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(c.Logs()))
	}
	if err != nil {
		t.Errorf("keeping the cluster's logs: %v", err)
		return
	}
	t.Logf("the logs of cluster %s are in %s", c.Name(), dir)
}
