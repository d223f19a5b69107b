package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const logOnly = "steps: [{name: log, plugin: logger}]\n"

// gate reports that a step began, and blocks the step until the gate is opened.
type gate struct{ began, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 10), make(chan struct{})} }

func (g gate) pass(ctx context.Context, _ cleanup.Target) error {
	g.began <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestWebhookAddsTheFinalizerInTheCreateRequest(t *testing.T) {
	f := setUp(t, logOnly)
	f.startWithWebhook()
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	node := f.create("new", "example.com/other")
	if want := []string{"example.com/other", api.Finalizer}; !slices.Equal(node.Finalizers, want) {
		t.Fatalf("the answer to the create request has finalizers %q, want %q", node.Finalizers, want)
	}
	requests, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(requests, func(e cluster.AuditEvent) bool { return e.Verb == "create" && e.Name == "new" }) {
		t.Error("the audit log does not have the create request")
	}
	for _, request := range requests {
		if request.Resource == "nodes" && (request.Verb == "patch" || request.Verb == "update") {
			t.Errorf("%s wrote node %s, although admission had added the finalizer", request.User, request.Name)
		}
	}
}

func TestWatcherAddsTheFinalizerWhenTheWebhookIsDown(t *testing.T) {
	f := setUp(t, logOnly)
	before := f.create("before-the-agent")
	f.start(f.options()) // Its webhook is not served; the API server ignores that.
	f.eventually("a node from before has the finalizer", func(context.Context) (bool, error) { return api.HasFinalizer(f.read(before)), nil })
	after := f.create("after", "example.com/other")
	if api.HasFinalizer(after) {
		t.Fatal("another client added the finalizer, this proves nothing")
	}
	f.eventually("a new node has the finalizer", func(context.Context) (bool, error) { return api.HasFinalizer(f.read(after)), nil })
	if got := f.read(after).Finalizers; !slices.Contains(got, "example.com/other") {
		t.Errorf("the other finalizer is lost: %q", got)
	}
}

func TestUnselectedNodesAreIgnored(t *testing.T) {
	f := setUp(t, "nodeSelector: {matchLabels: {kubernetes.io/hostname: chosen}}\n"+logOnly)
	f.start(f.options())
	other, chosen := f.create("other"), f.create("chosen")
	f.eventually("the chosen node has the finalizer", func(context.Context) (bool, error) { return api.HasFinalizer(f.read(chosen)), nil })
	if api.HasFinalizer(f.read(other)) {
		t.Error("a node that is not selected has the finalizer")
	}
}

func TestDeletedNodeIsRemovedAfterItsSteps(t *testing.T) {
	f := setUp(t, "steps:\n- {name: first, plugin: probe, options: {do: first}}\n- {name: second, plugin: probe, dependsOn: [first], options: {do: second}}\n")
	first := newGate()
	var mutex sync.Mutex
	var order []string
	note := func(what string) { mutex.Lock(); order = append(order, what); mutex.Unlock() }
	f.probes["first"] = func(ctx context.Context, target cleanup.Target) error {
		note("first")
		if target.Node.DeletionTimestamp == nil || target.Node.Spec.ProviderID == "" {
			t.Errorf("the plugin's node lacks what the API server knows: %+v", target.Node)
		}
		return first.pass(ctx, target)
	}
	f.probes["second"] = func(context.Context, cleanup.Target) error { note("second"); return nil }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	<-first.began
	if message := f.awaitState(node, api.Running); message != "0 of 2 steps done, running step first" {
		t.Errorf("the condition says %q", message)
	}
	if current := f.read(node); !api.HasFinalizer(current) {
		t.Error("the finalizer went before the steps were done")
	}
	close(first.open)
	f.awaitDeleted(node)
	if !slices.Equal(order, []string{"first", "second"}) {
		t.Errorf("steps ran as %q", order)
	}
	record := f.record(node)
	if record.State != api.Succeeded || record.FinishedAt == nil || record.DeletionRequestedAt == nil || record.Step("second").State != api.StepSucceeded {
		t.Errorf("the run record says %+v", record)
	}
	f.awaitEvent(node, "CleanupStarted", "Steps: first, second")
	f.awaitEvent(node, "StepStarted", "Step first (probe) started")
	f.awaitEvent(node, "StepSucceeded", "Step second (probe) done")
	f.awaitEvent(node, "CleanupCompleted", "the node is released. Steps: first succeeded in ")
	f.awaitEvent(node, "CleanupCompleted", "; second succeeded in ")
}

func TestFailedCriticalStepHoldsTheNodeUntilRetry(t *testing.T) {
	f := setUp(t, "retry: {maxRetries: 1, initialDelay: 100ms}\nsteps:\n- {name: storage, plugin: probe, options: {do: storage}}\n")
	var mutex sync.Mutex
	err := errors.New("volume vol-7 is still attached")
	f.probes["storage"] = func(context.Context, cleanup.Target) error {
		mutex.Lock()
		defer mutex.Unlock()
		return err
	}
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	if message := f.awaitState(node, api.Failed); message != "critical step storage failed, attempt 2: volume vol-7 is still attached" {
		t.Errorf("the condition says %q", message)
	}
	f.awaitEvent(node, "StepFailed", "volume vol-7 is still attached")
	f.awaitEvent(node, "CleanupFailed", "kubectl nodecleanup bypass worker")
	if !api.HasFinalizer(f.read(node)) {
		t.Fatal("the finalizer is removed")
	}
	mutex.Lock()
	err = nil
	mutex.Unlock()
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: "2026-01-01T00:00:00Z"})
	f.awaitDeleted(node)
}

func (f *fixture) annotate(node *corev1.Node, annotations map[string]string) {
	f.Helper()
	var pairs []string
	for key, value := range annotations {
		pairs = append(pairs, `"`+key+`":"`+value+`"`)
	}
	patch := `{"metadata":{"annotations":{` + strings.Join(pairs, ",") + `}}}`
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

func TestBypassReleasesTheNodeDuringAHangingStep(t *testing.T) {
	f := setUp(t, "steps:\n- {name: hang, plugin: probe, options: {do: hang}}\n")
	hang := newGate()
	f.probes["hang"] = hang.pass
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	<-hang.began
	f.annotate(node, map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassBy: "admin", api.AnnotationBypassReason: "the rack burned down"})
	f.awaitDeleted(node)
	f.awaitEvent(node, "CleanupBypassed", "the rack burned down")
	if record := f.record(node); record.State != api.Bypassed || record.BypassReason != "the rack burned down" {
		t.Errorf("the run record says %+v", record)
	}
}

func TestAnotherControllersFinalizerSurvives(t *testing.T) {
	f := setUp(t, logOnly)
	f.start(f.options())
	node := f.protected("worker", "example.com/other")
	f.delete(node)
	f.eventually("our finalizer is removed", func(context.Context) (bool, error) { return !api.HasFinalizer(f.read(node)), nil })
	current := f.read(node)
	if !slices.Equal(current.Finalizers, []string{"example.com/other"}) {
		t.Fatalf("finalizers are %q", current.Finalizers)
	}
	if condition := api.CleanupConditionOf(current); condition == nil || condition.Reason != string(api.Succeeded) || condition.Status != corev1.ConditionTrue {
		t.Errorf("the node that another holds says %+v", condition)
	}
}

func TestOldRunDoesNotTouchARecreatedNode(t *testing.T) {
	f := setUp(t, "steps:\n- {name: hang, plugin: probe, options: {do: hang}}\n- {name: next, plugin: probe, dependsOn: [hang], options: {do: next}}\n")
	began, ended := make(chan struct{}), make(chan struct{})
	f.probes["hang"] = func(ctx context.Context, _ cleanup.Target) error {
		close(began)
		<-ctx.Done() // The agent learns that the node is deleted.
		close(ended)
		return nil
	}
	f.probes["next"] = func(_ context.Context, target cleanup.Target) error {
		t.Errorf("a step ran for node UID %s", target.Node.UID)
		return nil
	}
	stop := f.start(f.options())
	old := f.protected("worker")
	f.delete(old)
	<-began
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), old.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitDeleted(old)
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	again := f.protected("worker")
	<-ended
	f.eventually("the old run has ended", func(context.Context) (bool, error) { return f.record(old).State == api.Failed, nil })
	stop()
	current := f.read(again)
	if current == nil || !api.HasFinalizer(current) || current.Spec.Unschedulable || api.CleanupConditionOf(current) != nil || current.ResourceVersion != again.ResourceVersion {
		t.Errorf("the new node was touched: %+v", current)
	}
	requests, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	user, _ := f.user()
	for _, request := range requests {
		if request.User == user && request.Resource == "nodes" && request.Verb != "get" && request.Verb != "watch" && request.Verb != "list" {
			t.Errorf("the agent sent %s %s for the new node: %d", request.Verb, request.URI, request.Code)
		}
	}
}

func TestUnprotectedDeletionIsReported(t *testing.T) {
	f := setUp(t, "nodeSelector: {}\n"+logOnly)
	node := f.create("worker", "example.com/other")
	f.delete(node)
	f.start(f.options())
	f.awaitEvent(node, "NodeUnprotected", "no cleanup runs for it")
}

func TestDryRunChangesNothingAndReleasesTheNode(t *testing.T) {
	f := setUp(t, "steps:\n- {name: real, plugin: probe, options: {do: real}}\n")
	f.probes["real"] = func(context.Context, cleanup.Target) error { t.Error("cleaned up"); return nil }
	options := f.options()
	options.DryRun = true
	f.start(options)
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	if record := f.record(node); !record.DryRun || len(record.Step("real").Effects) == 0 {
		t.Errorf("the run record says %+v", record)
	}
}

func TestInvalidConfigStopsTheAgentAndReleasesNoNode(t *testing.T) {
	f := setUp(t, `
dryrun: true
steps:
- {name: a, plugin: drian, dependsOn: [b]}
- {name: b, plugin: logger, dependsOn: [a]}
`)
	node := f.protected("worker")
	f.delete(node)
	err := agent.Run(t.Context(), f.options())
	if err == nil {
		t.Fatal("the agent ran")
	}
	for _, want := range []string{
		"configmap " + f.namespace + "/nodecleanup-config is refused", "no node is released",
		`unknown field "dryrun"`, `unknown plugin "drian"`, "the steps wait for each other: a → b → a",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if !api.HasFinalizer(f.read(node)) {
		t.Error("the finalizer is removed")
	}
}

func TestLabelCannotRemoveAStepDuringADeletion(t *testing.T) {
	f := setUp(t, "retry: {maxRetries: 0}\nsteps:\n- {name: storage, plugin: probe, nodeSelector: {matchLabels: {storage: \"yes\"}}}\n")
	fails := true
	f.probes[""] = func(context.Context, cleanup.Target) error {
		if fails {
			return errors.New("the array is rebuilding")
		}
		return nil
	}
	stop := f.start(f.options())
	node := f.protected("worker")
	f.patch(node, `{"metadata":{"labels":{"storage":"yes"}}}`)
	f.delete(node)
	f.awaitState(node, api.Failed)
	f.patch(node, `{"metadata":{"labels":{"storage":null},"annotations":{"`+api.AnnotationRetryRequestedAt+`":"again"}}}`)
	f.eventually("it is tried again", func(context.Context) (bool, error) {
		run := f.record(node)
		return run.RetryRequestedAt == "again" && run.State == api.Failed, nil
	})
	stop()
	fails = false
	f.start(f.options())
	f.patch(node, `{"metadata":{"annotations":{"`+api.AnnotationRetryRequestedAt+`":"and again"}}}`)
	f.awaitDeleted(node)
	if step := f.record(node).Step("storage"); step == nil || step.State != api.StepSucceeded {
		t.Errorf("the record says %+v", step)
	}
}
