package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReservedPortsAreUnique(t *testing.T) {
	t.Setenv("NODECLEANUP_CACHE", t.TempDir())
	var first, second ports
	seen := map[int]bool{}
	for _, reserved := range []*ports{&first, &second, &first} {
		got, err := reserved.reserve(50)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range got {
			if seen[port] {
				t.Errorf("port %d was given twice", port)
			}
			seen[port] = true
		}
	}
	if err := first.release(); err != nil {
		t.Error(err)
	}
	if err := second.release(); err != nil {
		t.Error(err)
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "lock")
	held, err := tryLock(path)
	if err != nil || held == nil {
		t.Fatalf("got %v, %v", held, err)
	}
	if other, err := tryLock(path); other != nil || err != nil {
		t.Errorf("got %v, %v for a lock that is held", other, err)
	}
	if err := held.release(); err != nil {
		t.Error(err)
	}
	again, err := lock(t.Context(), path, func() { t.Error("waited for a lock that is free") })
	if err != nil {
		t.Fatal(err)
	}
	if err := again.release(); err != nil {
		t.Error(err)
	}
}

func TestAuditLogWithPartsOfLines(t *testing.T) {
	c := &Cluster{layout: layout{dir: t.TempDir()}}
	if events, err := c.AuditLog(); err != nil || len(events) != 0 {
		t.Errorf("got %v, %v before there is a log", events, err)
	}
	content := `{"kind":"Event","verb":"get"}
{"kind":"Event","ver{"kind":"Event","verb":"list"}
{"kind":"Event","verb":"wat`
	if err := os.WriteFile(c.layout.auditLog(), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	mark, err := c.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	if events, err := c.AuditLog(); err != nil || len(events) != 2 || events[1].Verb != "list" {
		t.Errorf("got %+v, %v; want get and list", events, err)
	}
	if err := os.WriteFile(c.layout.auditLog(), []byte(content+"ch\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if events, err := c.AuditSince(mark); err != nil || len(events) != 1 || events[0].Verb != "watch" {
		t.Errorf("got %+v, %v since the mark; want watch", events, err)
	}
}

func TestBuildProgress(t *testing.T) {
	var out strings.Builder
	b := newBuildProgress(&out)
	b.packages(2800)
	for _, part := range []string{"go: downloading k8s.io/api v0.37.2\n", "k8s.io/a", "pi/core/v1\nio\n", "# k8s.io/api\nx.go:1:2: undefined: y\n"} {
		if _, err := b.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if b.downloaded != 1 || !strings.Contains(b.status(), "2 of 2800 packages") || !strings.Contains(b.tail(), "undefined: y") {
		t.Errorf("got %d downloads, status %q, tail %q", b.downloaded, b.status(), b.tail())
	}
}

func TestSourceHashChangesWithEveryEdit(t *testing.T) {
	found, err := findSource() // this test runs below the repository
	if err != nil || !strings.HasPrefix(found.version, "v1.") {
		t.Fatalf("got %+v, %v", found, err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module m\n\nrequire (\n\tk8s.io/api v0.1.2\n\tk8s.io/kubernetes v1.2.3\n)\n")
	write("go.sum", "")
	seen := map[string]bool{}
	for _, code := range []string{"package main", "package main\n", "package other"} {
		write("main.go", code)
		s, err := readSource(dir)
		if err != nil || s.version != "v1.2.3" || seen[s.id()] {
			t.Errorf("got %+v, %v for %q; want v1.2.3 and a new hash", s, err, code)
		}
		seen[s.id()] = true
	}
	write("main.go", "package main")
	if s, err := readSource(dir); err != nil || !seen[s.id()] {
		t.Errorf("got %+v, %v for what was there before", s, err)
	}
	write("go.mod", "module m\n")
	if s, err := readSource(dir); err == nil {
		t.Errorf("got %+v for a module without Kubernetes", s)
	}
}
