package operate_test

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

const drainThatForces = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drain, options: {forceAfter: 1s}}]\n"

// A config that needs a right that the agent lacks is refused when it is written, not at night.
func TestConfigIsRefusedUntilTheAgentHasTheRights(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.checked(exit.OK)
	f.edit(drainThatForces)
	var status printer.Status
	f.eventually("the agent refuses the config", func(context.Context) (bool, error) {
		status = printer.Status{}
		f.quietly("status", "-o", "json").into(&status)
		return status.Config.Problem != "", nil
	})
	for _, want := range []string{"the agent lacks rights: step drain: delete pods", "grant them: kubectl nodecleanup install", `{apiGroups: [""], resources: ["pods"], verbs: ["delete"]}`} {
		if !strings.Contains(status.Config.Problem, want) {
			t.Errorf("the config is refused because of %q, want %q", status.Config.Problem, want)
		}
	}
	checks := f.checked(exit.Unhealthy)
	f.wantOutcomes(checks, map[string]printer.Outcome{"agent-rights": printer.Error, "config": printer.Error})
	if detail := checks["agent-rights"].Detail; !strings.Contains(detail, "step drain: delete pods") {
		t.Errorf("agent-rights: %q", detail)
	}
	_, manifest, _ := strings.Cut(checks["agent-rights"].Hint, "\n")
	f.run("check").says("\n" + manifest + "\n") // It can be pasted.
	if hint := checks["agent-rights"].Hint; !strings.HasPrefix(hint, "kubectl nodecleanup install --agent-url") {
		t.Errorf("the hint is %q", hint)
	}
	f.applyRights(manifest)
	f.eventually("the agent takes the config", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "✓ config"), nil
	})
	f.wantOutcomes(f.checked(exit.OK), map[string]printer.Outcome{"agent-rights": printer.Pass})
}

// A step that runs Jobs needs rights in one namespace. Without them, its config is refused.
func TestConfigWithJobsIsRefusedUntilTheAgentHasTheRights(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	f.checked(exit.OK)
	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\njobs: [{namespace: default, serviceAccounts: [default]}]\n" +
		"steps: [{name: run, plugin: job, options: {namespace: default, template: {spec: {containers: [{name: main, image: a}]}}}}]\n")
	var status printer.Status
	f.eventually("the agent refuses the config", func(context.Context) (bool, error) {
		status = printer.Status{}
		f.quietly("status", "-o", "json").into(&status)
		return status.Config.Problem != "", nil
	})
	for _, want := range []string{"create jobs.batch in namespace default", "in namespace default: {apiGroups: ", `resourceNames: ["default"], verbs: ["get"]}`} {
		if !strings.Contains(status.Config.Problem, want) {
			t.Errorf("the config is refused because of %q, want %q", status.Config.Problem, want)
		}
	}
	checks := f.checked(exit.Unhealthy)
	if detail := checks["agent-rights"].Detail; !strings.Contains(detail, "step run: ") {
		t.Errorf("agent-rights: %q", detail)
	}
	_, manifest, _ := strings.Cut(checks["agent-rights"].Hint, "\n")
	f.applyRights(manifest)
	f.eventually("the agent takes the config", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("check").out, "✓ config"), nil
	})
	f.run("preflight").exits(exit.OK)
	f.wantOutcomes(f.checked(exit.OK), map[string]printer.Outcome{"agent-rights": printer.Pass})
}

// applyRights creates the role and the binding of a manifest.
func (f *fixture) applyRights(manifest string) {
	f.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for range 2 {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); err != nil {
			f.Fatalf("decoding %q: %v", manifest, err)
		}
		resource := rbacv1.SchemeGroupVersion.WithResource(strings.ToLower(object.GetKind()) + "s")
		var client dynamic.ResourceInterface = dynamic.NewForConfigOrDie(shared.RESTConfig()).Resource(resource)
		if namespace := object.GetNamespace(); namespace != "" {
			client = dynamic.NewForConfigOrDie(shared.RESTConfig()).Resource(resource).Namespace(namespace)
		}
		if _, err := client.Create(f.Context(), object, metav1.CreateOptions{}); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() {
			if err := client.Delete(contextOf(f.T), object.GetName(), metav1.DeleteOptions{}); err != nil {
				f.Error(err)
			}
		})
	}
}

// An agent starts with any existing config. Without the right to delete Pods, a drain with
// forceAfter waits for the budget, and names the right that the agent lacks.
func TestDrainWithoutForceWaitsAndNamesTheRight(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain, options: {forceAfter: 1s}}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.run("preflight").exits(exit.Unhealthy).says("the agent lacks rights: delete pods", "Give the agent the rights that it lacks: kubectl nodecleanup install --agent-url ", "Or apply:\napiVersion: rbac")
	// A user without the right to query the agent's rights reads the agent's own report.
	f.runAs(f.userInRole("nodecleanup-viewer"), "check", "-n", f.namespace).exits(exit.Unhealthy).says("✗ agent-rights", "step drain: delete pods")

	f.delete("worker")
	f.eventually("the drain names the right", func(context.Context) (bool, error) {
		condition := api.CleanupConditionOf(f.read("worker"))
		return condition != nil && strings.Contains(condition.Message, "forceAfter has passed, but the agent lacks rights: delete pods"), nil
	})
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("1 pod cannot be evicted now", "step drain: delete pods")
	if state := api.CleanupConditionOf(f.read("worker")).Reason; state != string(api.Running) {
		t.Errorf("the cleanup is %s, want %s: it waits", state, api.Running)
	}
	f.dropBudget("cart")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
}
