package plan_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// A notification is not a step: it is in no plan, and does not change the hash of the steps.
func TestNotificationsAreNotInThePlan(t *testing.T) {
	const steps = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: a, plugin: logger}]\n"
	hashes := map[string]bool{}
	for _, text := range []string{steps, steps + "notifications: [{name: n, plugin: logger}]\n"} {
		settings, err := config.Parse([]byte(text), plugins.Catalog(plugins.Dependencies{}))
		if err != nil {
			t.Fatal(err)
		}
		built := plan.Build(settings.Steps, &corev1.Node{})
		if len(built.Steps()) != 1 {
			t.Errorf("the plan is %+v", built)
		}
		hashes[built.StepsHash] = true
	}
	if len(hashes) != 1 {
		t.Errorf("the hashes are %v", hashes)
	}
}
