package operate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// unmarked wants nodes on which no command has acted.
func (f *fixture) unmarked(names ...string) {
	f.Helper()
	for _, name := range names {
		if node := f.read(name); node == nil || strings.Contains(fmt.Sprint(node.Annotations), "nodecleanup.io/") {
			f.Errorf("something was done to node %s: %+v", name, node)
		}
	}
}

func TestUnknownNodesAreRejectedFirst(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.node("a", nil)
	for _, arguments := range [][]string{{"cleanup", "--yes"}, {"retry"}, {"bypass", "--yes", "--reason", "r"}, {"plan"}} {
		f.run(append(arguments, "a", "nope", "node/neither")...).exits(exit.Failure).says("reading nodes nope, neither: not found", "nothing was changed")
		f.run(append(arguments, "-l", "rack=none")...).exits(exit.Failure).says("no node matches selector", "--show-labels")
	}
	f.unmarked("a")
}

func TestCleanupOfSeveralNodesConfirmsOnce(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	rack := map[string]string{"rack": "r7"}
	for i := range 12 {
		f.node(fmt.Sprintf("worker-%02d", i), rack)
	}
	f.run("cleanup", "-l", "rack=r7").exits(exit.Usage).says(
		"Node worker-00: 2 steps", "Node worker-09: 2 steps", "And 2 more nodes.", "Cordon these 12 nodes and run their plans?", "stdin is not an interactive terminal", "--yes")
	f.unmarked("worker-00", "worker-11")

	f.pod("cart-0", "worker-01", app("cart"))
	f.budget("cart", 1)
	f.run("cleanup", "node/worker-00", "worker-01", "nodes/worker-02", "worker-00", "--yes", "--wait").exits(exit.Blocked).says(
		"Error: cleaning up node worker-01: its plan is blocked by", "--even-if-blocked",
		"node/worker-00 cleanup requested", "worker-00: 1/2 drain: done", "node/worker-00 cleaned up", "node/worker-02 cleaned up")
	f.unmarked("worker-01")

	// One of the plan's steps fails; the others are waited for and deleted.
	f.run("cleanup", "worker-00", "worker-01", "worker-02", "--yes", "--even-if-blocked", "--delete").exits(exit.Unhealthy).says(
		"Error: cleaning up node worker-01: failed", "node/worker-00 cleaned up and deleted", "node/worker-02 cleaned up and deleted")
	if f.read("worker-00") != nil || f.read("worker-02") != nil || f.read("worker-01") == nil {
		t.Error("not the nodes that were cleaned up are deleted")
	}

	f.dropBudget("cart")
	retried := f.run("retry", "worker-01", "worker-03", "--wait").exits(exit.Failure).says(
		"Error: retrying the cleanup of node worker-03: it is not being deleted, and no cleanup was requested", "node/worker-01 retry requested", "worker-01: 1/2 drain: done")
	if strings.Contains(retried.out, "worker-03") {
		t.Errorf("a retry was requested: %s", retried.out)
	}
	f.unmarked("worker-03")
}

func TestBypassOfSeveralNodes(t *testing.T) {
	f := setUp(t, drainAndLog)
	rack := map[string]string{"rack": "r7"}
	f.node("a", rack)
	f.node("b", rack)
	f.node("other", nil)
	f.run("bypass", "-l", "rack=r7", "--reason", "fire").exits(exit.Usage).says("Node a is not being deleted", "Node b is not", "Mark these 2 nodes, so that a deletion runs no cleanup?", "--yes")
	f.unmarked("a", "b")
	f.run("bypass", "-l", "rack=r7", "--reason", "fire", "--yes").exits(exit.OK).says("node/a marked\nnode/b marked\n")
	for _, name := range []string{"a", "b"} {
		if reason := f.read(name).Annotations[api.AnnotationBypassReason]; reason != "fire" {
			t.Errorf("node %s has the reason %q", name, reason)
		}
	}
	f.unmarked("other")
}

func TestPlansOfNamedNodes(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.node("a", nil)
	f.node("b", nil)
	f.run("plan", "a", "b").exits(exit.OK).says("2 nodes, 0 blocked")
	f.pod("alone", "b", func(pod *corev1.Pod) { pod.OwnerReferences = nil })
	var list printer.PlanList
	f.run("plan", "b", "nodes/a", "b", "-o", "json").exits(exit.Blocked).into(&list)
	if list.Kind != "PlanList" || len(list.Plans) != 2 || list.Plans[0].Node != "b" || len(list.Plans[0].Blocked) != 1 {
		t.Errorf("the view is a %s of %+v", list.Kind, list.Plans)
	}
	f.run("plan", "a", "b", "-o", "name").exits(exit.Blocked).says("node/a\nnode/b\n")
	f.run("plan", "a", "a", "-o", "jsonpath={.kind}").exits(exit.OK).says("Plan")
	f.run("plan", "a", "b", "-o", "wide").exits(exit.Blocked).says("· a ·", "· b ·")
}

func TestNamesOfSeveralNodesAreCompleted(t *testing.T) {
	f := setUp(t, drainAndLog)
	for _, name := range []string{"a", "b", "c"} {
		f.node(name, nil)
	}
	f.eventually("the API server's cache has all", func(context.Context) (bool, error) {
		return strings.Contains(f.complete("__complete", "--kubeconfig", shared.Kubeconfig(), "retry", "").out, "a\nb\nc"), nil
	})
	for _, command := range []string{"retry", "bypass", "cleanup", "plan"} {
		f.completes("a c", command, "node/b")
		f.completes("c", command, "b", "a")
	}
	f.completes("", "diagnose", "a")
}
