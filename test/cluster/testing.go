package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Start returns a cluster for one test, which ends with it. If the test fails, the logs are kept
// and their path is logged. For a cluster of all tests of a package, call New in TestMain.
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
			dir, err := archiveLogs(c)
			if err != nil {
				t.Error(err)
			}
			t.Logf("the logs of cluster %s are in %s", c.Name(), dir)
		}
		// The context of the test has ended.
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	return c
}

// Main runs the tests of a package with one cluster for all of them, and returns the exit code. use gets the cluster
// before the first test. If a test fails, the logs are kept and their path is printed. In the package's TestMain:
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
	if code = m.Run(); code != 0 {
		dir, err := archiveLogs(c)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		fmt.Fprintf(os.Stderr, "the logs of cluster %s are in %s\n", c.Name(), dir)
	}
	return code
}

// UseOwnCache sets a new cache for the test, with its own clusters and the Kubernetes of the
// shared cache.
func UseOwnCache(t testing.TB) {
	t.Helper()
	if _, err := Build(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	cache, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	// The ports are shared by the whole machine, so that no other cluster takes the same ones.
	for _, shared := range []string{"kubernetes", "ports"} {
		if err := os.MkdirAll(filepath.Join(cache, shared), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(cache, shared), filepath.Join(own, shared)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("NODECLEANUP_CACHE", own)
}
