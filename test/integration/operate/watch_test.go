package operate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// growing is the output of a command that a test reads while it is written.
type growing struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (g *growing) Write(data []byte) (int, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	return g.text.Write(data)
}

func (g *growing) String() string {
	g.lock.Lock()
	defer g.lock.Unlock()
	return g.text.String()
}

func TestStatusFollowsACleanup(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var out growing
	ended := make(chan error, 1)
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
		ended <- cli.Execute(ctx, streams, []string{"status", "-w", "--kubeconfig", shared.Kubeconfig()})
	}()
	saysSoon := func(text string) {
		t.Helper()
		f.eventually("it says "+text, func(context.Context) (bool, error) { return strings.Contains(out.String(), text), nil })
	}
	saysSoon("agent ok")
	f.delete("worker")
	saysSoon("node worker Running 1/2 drain")
	f.eventually("the record counts the pods", func(context.Context) (bool, error) {
		var view printer.Status
		if err := json.Unmarshal([]byte(f.quietly("status", "-o", "json").out), &view); err != nil || len(view.Cleanups) != 1 || view.Cleanups[0].Counts == nil {
			return false, err
		}
		counts := view.Cleanups[0].Counts
		return counts.Total == 1 && counts.Done == 0 && counts.Blocked == "default/cart-0" && counts.BlockedSince != nil, nil
	})
	saysSoon("node worker Failed 1/2 drain")
	f.dropBudget("cart")
	f.run("retry", "worker").exits(exit.OK)
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
	saysSoon("node worker is not being cleaned up any more")
	cancel()
	<-ended
	t.Log(out.String())

	f.run("status", "-w", "--timeout", "1s").exits(exit.OK).says("agent ok")
	f.run("status", "-w", "-o", "json").exits(exit.Usage).says("--watch has no output format")
	reader := f.userWith("reader", rule("", "nodes", "list"), rule("", "configmaps", "list", "watch"))
	f.runAs(reader, "status", "-w", "-n", f.namespace).exits(exit.Failure).says("watching nodes", "ask a cluster administrator")
	f.wantsNoWrites("status", "-w", "--timeout", "1s")
}
