package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// call is what a command gave.
type call struct {
	out, progress string
	err           error
}

func command(ctx context.Context, args ...string) call {
	var out, progress bytes.Buffer
	err := run(ctx, streams{out: &out, progress: &progress}, args)
	return call{out.String(), progress.String(), err}
}

// ownClusters gives the test clusters of its own, which end with it.
func ownClusters(t *testing.T) {
	cluster.UseOwnCache(t)
	t.Cleanup(func() {
		if ended := command(context.WithoutCancel(t.Context()), "down", "--all"); ended.err != nil {
			t.Errorf("ending the clusters: %v", ended.err)
		}
	})
}

// Two that start the same cluster at once get the same.
func TestConcurrentStartsShareOneCluster(t *testing.T) {
	ownClusters(t)
	var calls [2]call
	var group sync.WaitGroup
	for i := range calls {
		group.Go(func() { calls[i] = command(t.Context(), "up") })
	}
	group.Wait()
	for _, made := range calls {
		if made.err != nil {
			t.Fatal(made.err)
		}
		if !strings.HasPrefix(made.out, "export KUBECONFIG='") || !strings.HasSuffix(made.out, "/clusters/local/kubeconfig'\n") {
			t.Errorf("stdout is not for eval: %q", made.out)
		}
	}
	if calls[0].out != calls[1].out {
		t.Errorf("they got two clusters: %q and %q", calls[0].out, calls[1].out)
	}
	both := calls[0].progress + calls[1].progress
	for _, want := range []string{"Another process starts or stops cluster local; waiting for it", "Cluster local is ready after", "Cluster local is up already"} {
		if strings.Count(both, want) != 1 {
			t.Errorf("%q is not said once:\n%s", want, both)
		}
	}

	state := command(t.Context(), "status")
	if state.err != nil {
		t.Fatal(state.err)
	}
	healths := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(state.out), "\n")[1:] {
		fields := strings.Fields(line)
		healths[fields[0]+" "+fields[1]] = strings.Join(fields[3:], " ")
	}
	for name, want := range map[string]string{cluster.Etcd: "ok", cluster.APIServer: "ok", cluster.Scheduler: "not running", cluster.Kwok: "not running"} {
		if got := healths["local "+name]; got != want {
			t.Errorf("the health of %s is %q, want %q; status says:\n%s", name, got, want, state.out)
		}
	}

	dir, err := cluster.DirOf("local")
	if err != nil {
		t.Fatal(err)
	}
	running, err := cluster.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Cluster local is down\n", "Cluster local is not up\n"} {
		if ended := command(t.Context(), "down"); ended.err != nil || ended.progress != want {
			t.Errorf("got %q, %v; want %q", ended.progress, ended.err, want)
		}
	}
	if slices.ContainsFunc(running.Processes(), (*cluster.Process).Running) {
		t.Error("something of the cluster still runs")
	}
	if state := command(t.Context(), "status"); state.err != nil || state.progress != "No cluster is up\n" {
		t.Errorf("got %q, %v after the end", state.progress, state.err)
	}
}

// make demo ends the cluster named demo without a question.
func TestDemoNameIsReserved(t *testing.T) {
	ownClusters(t)
	if made := command(t.Context(), "up", "--name", "demo"); !errors.As(made.err, new(usageError)) || !strings.Contains(fmt.Sprint(made.err), "make demo") {
		t.Errorf("got %v, want a mistake in how it was called", made.err)
	}
}

func TestWrongArgumentsAreAnError(t *testing.T) {
	for _, args := range [][]string{{}, {"start"}, {"up", "mine"}, {"up", "--nodes=3"}, {"status", "--name=a"}} {
		if made := command(t.Context(), args...); !errors.As(made.err, new(usageError)) {
			t.Errorf("%q gave %v, want a mistake in how it was called", args, made.err)
		}
	}
}
