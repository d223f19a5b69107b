package operate_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// completes wants just these names for the next word, as a shell gets them.
func (f *fixture) completes(want string, words ...string) {
	f.Helper()
	// The words come last: what stands behind __complete is the line so far.
	line := append([]string{"__complete", "--kubeconfig", shared.Kubeconfig()}, words...)
	ran := f.complete(append(line, "")...).exits(exit.OK)
	var names []string
	for name := range strings.Lines(ran.out) {
		if !strings.HasPrefix(name, ":") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if got := strings.Join(names, " "); got != want {
		f.Errorf("%s is completed to %q, want %q", strings.Join(words, " "), got, want)
	}
}

func TestNamesAreCompleted(t *testing.T) {
	f := setUp(t, "steps: [{name: tell-ops, plugin: logger}]\n")
	f.start()
	f.node("gone", nil)
	f.delete("gone")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("gone") == nil, nil })
	f.node("worker-b", nil)
	f.node("worker-a", nil)
	f.eventually("the API server's cache has both", func(context.Context) (bool, error) {
		return strings.Contains(f.complete("__complete", "--kubeconfig", shared.Kubeconfig(), "diagnose", "").out, "worker-a\nworker-b"), nil
	})
	f.completes("worker-a worker-b", "diagnose")
	f.completes("worker-a worker-b", "-n", f.namespace, "bypass")
	f.completes("", "diagnose", "worker-a")
	f.completes("gone", "history")
	f.completes("gone", "-n", f.namespace, "history")
	f.eventually("the agent has said how its plugins are", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("plugins", "status").out, "tell-ops"), nil
	})
	f.completes("tell-ops logger", "plugins", "test")

	// Without rights there are no names, and nothing on the line that is being typed.
	nobody := f.userWith("nobody")
	ran := f.complete("__complete", "--kubeconfig", nobody, "diagnose", "")
	if strings.Contains(ran.out, "worker") || !strings.Contains(ran.out, ":1") {
		t.Errorf("it completes to %q", ran.out)
	}
}
