package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type mainFunc func() int

func (f mainFunc) Run() int { return f() }

func TestMainKeepsTheLogsOfFailedTests(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	// As many as are kept, from long ago.
	for number := range maxKeptLogs {
		old := filepath.Join(os.TempDir(), fmt.Sprint(keptPrefix, "old-", number))
		if err := os.Mkdir(old, 0o700); err != nil {
			t.Fatal(err)
		}
		made := time.Now().Add(-time.Duration(number+1) * time.Hour)
		if err := os.Chtimes(old, made, made); err != nil {
			t.Fatal(err)
		}
	}
	var dir string
	code := Main(mainFunc(func() int { return 3 }), Options{Name: "failing", Output: t.Output()}, func(c *Cluster) { dir = c.Dir() })
	if code != 3 {
		t.Errorf("got exit code %d, want that of the tests, 3", code)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory of the cluster is left: %v", err)
	}
	kept, err := filepath.Glob(filepath.Join(os.TempDir(), keptPrefix+"failing-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("got kept logs %q, %v; want those of one cluster", kept, err)
	}
	for _, name := range []string{Etcd + ".log", APIServer + ".log", "audit.log"} {
		if info, err := os.Stat(filepath.Join(kept[0], name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is not kept: %v, %v", name, info, err)
		}
	}
	all, err := filepath.Glob(filepath.Join(os.TempDir(), keptPrefix+"*"))
	if err != nil || len(all) != maxKeptLogs {
		t.Errorf("got the logs of %d clusters, %v; want %d", len(all), err, maxKeptLogs)
	}
	if _, err := os.Stat(filepath.Join(os.TempDir(), fmt.Sprint(keptPrefix, "old-", maxKeptLogs-1))); !os.IsNotExist(err) {
		t.Errorf("the oldest logs are still there: %v", err)
	}
}

func TestMainKeepsNoLogsOfPassedTests(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if code := Main(mainFunc(func() int { return 0 }), Options{Name: "passing", Output: t.Output()}, func(*Cluster) {}); code != 0 {
		t.Errorf("got exit code %d", code)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}
