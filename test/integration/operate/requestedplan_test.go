package operate_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

const drainAndGPU = `
steps:
- {name: drain, plugin: drain}
- {name: gpu, plugin: logger, nodeSelector: {matchLabels: {gpu: "yes"}}}
`

// planOf returns the hash that plan prints.
func (f *fixture) planOf(node string) string {
	f.Helper()
	var plan printer.Plan
	f.run("plan", node, "-o", "json").exits(exit.OK).into(&plan)
	return plan.Hash
}

// requested waits until a command has requested the cleanup of a node.
func (f *fixture) requested(node string) {
	f.Helper()
	f.eventually("the cleanup of node "+node+" is requested", func(context.Context) (bool, error) {
		return f.read(node).Annotations[api.AnnotationCleanupRequestedAt] != "", nil
	})
}

// refused wants a cleanup that ended because the agent refused its plan.
func (f *fixture) refused(node string, ended <-chan error, changed string) {
	f.Helper()
	err := <-ended
	f.endsWith(err, changed+"; no step has run", "kubectl nodecleanup plan "+node)
	if code := exit.Code(f.Context(), err); code != exit.Failure {
		f.Errorf("node %s: exit code %d", node, code)
	}
	f.awaitState(node, api.Canceled)
	current := f.read(node)
	if condition := api.CleanupConditionOf(current); !strings.Contains(condition.Message, changed) || current.Spec.Unschedulable {
		f.Errorf("the condition says %q, cordoned: %v", condition.Message, current.Spec.Unschedulable)
	}
	f.eventually("there is an Event CleanupRefused", func(ctx context.Context) (bool, error) {
		events, err := f.client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "reason=CleanupRefused,involvedObject.uid=" + string(current.UID)})
		return err == nil && len(events.Items) == 1 && strings.Contains(events.Items[0].Message, changed), err
	})
	f.run("history", node).exits(exit.OK).says("Canceled", changed)
	f.run("history", node, "-o", "wide").exits(exit.OK).says("requested plan ")
	f.run("diagnose", node).says(changed)
}

// Between the request and the first step, a change alters the plan of the cleanup.
func TestAgentRefusesAChangedPlan(t *testing.T) {
	f := setUp(t, drainAndGPU)
	ended := map[string]<-chan error{}
	for _, node := range []string{"same", "labelled", "fuller"} {
		f.node(node, nil)
		f.pod("web-"+node, node, app("web"))
		_, ended[node] = f.begin("cleanup", node, "--plan", f.planOf(node), "--wait", "--yes")
		f.requested(node)
	}
	f.patch("labelled", `{"metadata":{"labels":{"gpu":"yes"}}}`)
	f.pod("late", "fuller", app("web"))
	f.start()
	if err := <-ended["same"]; err != nil {
		t.Errorf("the requested plan ended with %v", err)
	}
	f.refused("labelled", ended["labelled"], "the node changed (for example its labels), so that other steps apply")
	f.refused("fuller", ended["fuller"], "the pods or volumes of the node changed")

	f.run("pause", "--reason", "a test").exits(exit.OK)
	f.node("configured", nil)
	_, configured := f.begin("cleanup", "configured", "--plan", f.planOf("configured"), "--wait", "--yes")
	f.requested("configured")
	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drain, options: {allowUnmanaged: true}}]\n")
	f.eventually("the agent follows the config", func(context.Context) (bool, error) {
		return !strings.Contains(f.quietly("plan", "configured").out, "the agent uses config"), nil
	})
	f.run("resume").exits(exit.OK)
	f.refused("configured", configured, "the config changed")

	// A new look is enough.
	f.run("cleanup", "configured", "--plan", f.planOf("configured"), "--delete", "--yes").exits(exit.OK).says("node/configured cleaned up and deleted")
}

func TestHashOfAnotherNodeIsRefused(t *testing.T) {
	f := setUp(t, drainAndGPU)
	f.start()
	f.node("a", nil)
	f.node("b", nil)
	other := f.planOf("a")
	f.run("cleanup", "b", "--plan", other, "--yes").exits(exit.Failure).says("it is the plan of another node", "the plan is now "+f.planOf("b"), "kubectl nodecleanup plan b")
	f.run("cleanup", "a", "b", "--plan", other, "--yes").exits(exit.Usage).says("--plan names the plan of one node")
	f.run("cleanup", "b", "--plan", "9f3c1a", "--yes").exits(exit.Usage).says(`"9f3c1a" is not the hash of a plan`)
	f.unmarked("a", "b")
	// The request is written by hand, so only the agent compares the plans.
	f.patch("b", `{"metadata":{"annotations":{"`+api.AnnotationCleanupRequestedAt+`":"2026-01-01T00:00:00Z","`+api.AnnotationCleanupRequestedPlan+`":"`+other+`"}}}`)
	f.awaitState("b", api.Canceled)
	if message := api.CleanupConditionOf(f.read("b")).Message; !strings.Contains(message, "it is the plan of another node") {
		t.Errorf("the condition says %q", message)
	}
}

// Both commands report the outcome of the cleanup.
func TestConcurrentCleanupRequestsOfOneNode(t *testing.T) {
	f := setUp(t, drainAndGPU)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	first := f.planOf("worker")
	f.budget("cart", 1)
	_, ended := f.begin("cleanup", "worker", "--plan", first, "--even-if-blocked", "--wait", "--yes")
	f.awaitState("worker", api.Running)

	out, same := f.begin("cleanup", "worker", "--plan", first, "--wait", "--yes")
	f.eventually("it follows the cleanup", func(context.Context) (bool, error) {
		return strings.Contains(out.String(), "cleanup already requested by admin"), nil
	})
	other := first[:len(first)-5] + "00000"
	f.run("cleanup", "worker", "--plan", other, "--yes", "--wait").exits(exit.Failure).
		says("cleanup already requested by admin, and it runs plan "+first+"; this command requested nothing", "cleanup worker --wait")
	f.run("cleanup", "worker").exits(exit.OK).says("cleanup already requested by admin")

	// An older CLI, or kubectl, replaces the request.
	f.patch("worker", `{"metadata":{"annotations":{"`+api.AnnotationCleanupRequestedAt+`":"2026-01-01T00:00:00Z","`+api.AnnotationCleanupRequestedBy+`":"admin","`+api.AnnotationCleanupRequestedPlan+`":"`+other+`"}}}`)
	for _, one := range []<-chan error{ended, same} {
		f.endsWith(<-one, "the request was replaced: cleanup already requested by admin, by plan "+other, "diagnose worker")
	}
	f.awaitState("worker", api.Canceled)
}

// An older agent ignores the plan of the request.
func TestRunOfAnotherPlanIsAnError(t *testing.T) {
	f := setUp(t, drainAndGPU)
	node := f.node("worker", nil)
	_, ended := f.begin("cleanup", "worker", "--plan", f.planOf("worker"), "--wait", "--yes")
	f.requested("worker")
	record, err := api.EncodeRun(f.namespace, &api.Run{
		Node: "worker", NodeUID: node.UID, ConfigHash: "c", PlanHash: "p", State: api.Succeeded, StartedAt: metav1.Now(),
		CleanupRequestedAt: f.read("worker").Annotations[api.AnnotationCleanupRequestedAt], Steps: []api.StepRun{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.endsWith(<-ended, "the agent does not compare plans, and runs any plan", "kubectl nodecleanup upgrade")
}
