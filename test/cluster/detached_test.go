package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
)

// TestUpAndDown tests clusters that outlive the process that starts them. Open finds them as a later
// process does.
func TestUpAndDown(t *testing.T) {
	UseOwnCache(t)
	ctx := t.Context()
	options := Options{Name: "detached", Output: t.Output()}
	t.Cleanup(func() { Down(context.WithoutCancel(ctx), "detached") })
	first, err := Up(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	extra, err := first.Add(Command{Name: "extra", Path: "/bin/sh", Args: []string{"-c", "exec sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Add(Command{Name: "extra"}); err == nil {
		t.Error("two processes of one name were added")
	}
	if err := extra.Start(ctx); err != nil {
		t.Fatal(err)
	}

	options.WithKwok = true
	again, err := Up(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Component(APIServer).PID(), first.Component(APIServer).PID(); got != want || again.URL() != first.URL() {
		t.Errorf("a cluster that is up was started again: process %d at %s, want %d at %s", got, again.URL(), want, first.URL())
	}
	if got := again.process("extra").PID(); got != extra.PID() {
		t.Errorf("got process %d for what was added, want %d", got, extra.PID())
	}
	if err := again.Component(Kwok).Healthy(ctx); err != nil {
		t.Errorf("what was asked for the second time does not run: %v", err)
	}
	testUser(t, again)

	if err := again.Component(Etcd).Kill(); err != nil {
		t.Fatal(err)
	}
	repaired, err := Up(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := Replace(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	// They were ended through another Cluster value; this one notices it a moment later.
	eventually(t, "nothing of the clusters before is left", func(context.Context) (bool, error) {
		return !extra.Running() && !first.Component(APIServer).Running() && !again.Component(Kwok).Running() &&
			!repaired.Component(APIServer).Running(), nil
	})
	if names, err := Names(); err != nil || len(names) != 1 {
		t.Errorf("got clusters %q, %v; want one", names, err)
	}
	for _, want := range []bool{true, false} {
		if found, err := Down(ctx, "detached"); err != nil || found != want {
			t.Errorf("taking the cluster down: got %v, %v; want %v", found, err, want)
		}
	}
	eventually(t, "the cluster does not run", func(context.Context) (bool, error) {
		return !fresh.Component(APIServer).Running(), nil
	})
	if _, err := os.Stat(fresh.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the cluster is left: %v", err)
	}
}

func TestDirOf(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "-x", "A"} {
		if dir, err := DirOf(name); err == nil {
			t.Errorf("the name %q was taken, for %s", name, dir)
		}
	}
}
