package operate_test

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

const drainAndLog = `
retry: {maxRetries: 0}
steps:
- {name: drain, plugin: drain, timeout: 5s}
- {name: log, plugin: logger, dependsOn: [drain]}
`

func TestCleanupOfALiveNodeAndThenItsDeletion(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("web", "worker", app("web"))
	var plan printer.Plan
	f.run("plan", "worker", "-o", "json").exits(exit.OK).into(&plan)
	f.run("cleanup", "worker", "--plan", plan.Hash[:len(plan.Hash)-5]+"00000", "--yes").exits(exit.Failure).says("the pods or volumes of the node changed; the plan is now "+plan.Hash, "nothing was started")
	f.run("cleanup", "worker", "--plan", plan.Hash).exits(exit.Usage).says("stdin is not an interactive terminal", "--yes")
	if node := f.read("worker"); node.Annotations[api.AnnotationCleanupRequestedAt] != "" {
		t.Fatalf("something was begun: %v", node.Annotations)
	}
	f.run("cleanup", "node/worker", "--plan", plan.Hash, "--yes", "--wait").exits(exit.OK).
		says("1/2 drain: done", "2/2 log: done", "node/worker cleaned up; it stays cordoned", "Next:  kubectl delete node worker")
	node := f.read("worker")
	if !node.Spec.Unschedulable || node.Annotations[api.AnnotationCleanupRequestedBy] != "admin" {
		t.Errorf("cordoned %v, annotations %v", node.Spec.Unschedulable, node.Annotations)
	}
	f.run("cleanup", "worker", "--yes", "--delete").exits(exit.OK).says("the node is deleted", "node/worker cleaned up and deleted")
	if f.read("worker") != nil {
		t.Error("the node is still there")
	}

	var history printer.History
	f.run("history", "worker", "-o", "json").exits(exit.OK).into(&history)
	if len(history.Runs) != 1 || history.Runs[0].State != "Succeeded" || history.Runs[0].RequestedBy != "admin" || len(history.Runs[0].Steps) != 2 {
		t.Errorf("history %+v", history.Runs)
	}
	f.run("history", "-o", "wide").exits(exit.OK).says("worker", "drain", "requested by admin")
	f.run("history", "-o", "name").exits(exit.OK).says("configmap/run-worker-")
	f.run("history", "nobody", "-o", "short").exits(exit.OK).says("0 cleanups")
	f.run("history", "nobody").exits(exit.OK).says("No cleanup of node nobody is recorded")
	f.run("history", "--since", "1ns", "-o", "short").exits(exit.OK).says("0 cleanups")
}

func TestCleanupRefusesABlockedNodeAndRetryContinues(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.run("cleanup", "worker", "--yes").exits(exit.Blocked).says("default/cart-0", "nothing was started", "--even-if-blocked")
	f.run("retry", "worker").exits(exit.Failure).says("it is not being deleted, and no cleanup was requested", "cleanup worker")
	f.run("cleanup", "worker", "--yes", "--even-if-blocked", "--wait").exits(exit.Unhealthy).says("1/2 drain: failed", "diagnose worker")

	var list printer.NodeList
	f.run("nodes", "list", "-o", "json").exits(exit.OK).into(&list)
	if len(list.Nodes) != 1 || !list.Nodes[0].Protected || !list.Nodes[0].Stuck || list.Nodes[0].State != "Failed" || list.Nodes[0].Step != "1/2 drain" {
		t.Errorf("nodes %+v", list.Nodes)
	}
	f.run("nodes", "list").exits(exit.OK).says("worker   yes         Failed   1/2 drain")
	f.run("nodes", "list", "-o", "wide").exits(exit.OK).says("CORDONED", "cart")

	f.dropBudget("cart")
	f.run("retry", "worker", "--wait").exits(exit.OK).says("node/worker retry requested", "1/2 drain: done")
	f.awaitState("worker", api.Succeeded)
}

func TestRetryOfADeletedNode(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.delete("worker")
	f.awaitState("worker", api.Failed)
	f.run("cleanup", "worker", "--yes").exits(exit.Failure).says("it is being deleted", "retry worker")
	f.run("retry", "worker", "--wait").exits(exit.Unhealthy).says("failed")
	f.dropBudget("cart")
	f.run("retry", "worker", "--wait").exits(exit.OK).says("the node is deleted")
	f.run("retry", "worker").exits(exit.Failure).says("reading node worker", "history worker")
}

func TestCleanupIsNotStartedIfTheDeletionIsDenied(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.patch("worker", `{"metadata":{"annotations":{"nodecleanup.io/protect":"holds the licence dongle"}}}`)
	f.eventually("the delete guard answers", func(ctx context.Context) (bool, error) {
		err := f.client.CoreV1().Nodes().Delete(ctx, "worker", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), nil
	})
	f.run("cleanup", "worker", "--yes", "--delete").exits(exit.Blocked).says("the deletion would be refused now; nothing was started", "holds the licence dongle", "--even-if-blocked")
	if node := f.read("worker"); node == nil || node.Spec.Unschedulable || node.Annotations[api.AnnotationCleanupRequestedAt] != "" {
		t.Fatalf("something was begun: %+v", node)
	}
	f.run("cleanup", "worker", "--yes", "--delete", "--even-if-blocked").exits(exit.Failure).
		says("would be refused now. This command tries it after the cleanup", "deleting node worker after its cleanup", "holds the licence dongle")
	if node := f.read("worker"); node == nil || node.DeletionTimestamp != nil {
		t.Errorf("the node is %+v", node)
	}
}

func TestRequestsWithoutAnAgentWarn(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.node("worker", nil)
	for _, arguments := range [][]string{{"cleanup", "worker", "--yes"}, {"retry", "worker"}} {
		waited := f.run(append(arguments, "--wait", "--timeout", "1s")...).exits(exit.TimedOut).says(
			"WARNING: no agent in namespace "+f.namespace+" is the leader", "No agent in namespace "+f.namespace+" is the leader, so the cleanup waits. Find out why: kubectl nodecleanup check")
		if strings.Contains(waited.errOut, "continues the cleanup") {
			t.Errorf("%v: it says that an agent acts:\n%s", arguments, waited.errOut)
		}
	}
	reader := f.userWith("reader", rule("", "nodes", "get"), rule("", "configmaps", "get", "list"))
	f.runAs(reader, "retry", "worker").exits(exit.Failure).says("annotating node worker", "cannot patch", "ask a cluster administrator")
	f.runAs(reader, "nodes", "list").exits(exit.Failure).says("listing nodes", "ask a cluster administrator")
	nobody := f.userWith("nobody")
	f.runAs(nobody, "history").exits(exit.Failure).says("listing the run records", "ask a cluster administrator")
	f.runAs(nobody, "cleanup", "worker", "--yes").exits(exit.Failure).says("reading node worker")
}

func TestRetryOfANodeHeldByOtherFinalizers(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.node("theirs", nil)
	f.patch("theirs", `{"metadata":{"finalizers":["example.com/theirs"]}}`)
	f.delete("theirs")
	f.run("retry", "theirs").exits(exit.Failure).says("nodecleanup does not block its deletion, but other finalizers do: example.com/theirs")
}

// That the node is deleted, or waited for no longer, is not that it was cleaned up.
func TestWaitDistinguishesACleanupFromOtherEnds(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	ends := map[string]struct {
		end  func(node string)
		says string
	}{
		"bypassed": {func(node string) {
			f.run("bypass", node, "--reason", "hardware lost", "--yes").exits(exit.OK)
			f.delete(node)
		}, "cleaning up node bypassed: bypassed by admin (hardware lost); steps not done: drain"},
		"stripped": {func(node string) {
			f.delete(node)
			f.patch(node, `{"metadata":{"finalizers":null}}`)
		}, "cleaning up node stripped: the node is deleted without a completed cleanup: another client removed the finalizer"},
		"withdrawn": {func(node string) {
			f.patch(node, `{"metadata":{"annotations":{"nodecleanup.io/cleanup-requested-at":null}}}`)
		}, "cleaning up node withdrawn: "},
	}
	for node := range ends {
		f.node(node, nil)
		f.pod(node, node, app("cart"))
	}
	f.budget("cart", int32(len(ends)))
	for node, test := range ends {
		out, ended := f.begin("cleanup", node, "--yes", "--even-if-blocked", "--wait")
		f.awaitState(node, api.Running)
		test.end(node)
		err := <-ended
		if exit.Code(t.Context(), err) != exit.Failure || err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: it ended with %v\n%s", node, err, out)
		}
		if node == "stripped" {
			continue // Its record is closed only later if the write that the end of the run cut off has arrived.
		}
		f.eventually("history says that the step was interrupted", func(context.Context) (bool, error) {
			history := f.quietly("history", node, "-o", "wide").out
			return strings.Contains(history, "Interrupted") && !strings.Contains(history, "Running"), nil
		})
	}
}
