package agreement_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// Helm cannot ask the plugins which rights a config needs. The chart computes them by itself.
func TestChartGrantsTheRightsOfTheConfig(t *testing.T) {
	const head = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"
	for _, steps := range []string{
		"steps: [{name: a, plugin: logger}]",
		"steps: [{name: a, plugin: drain}]",
		"steps: [{name: a, plugin: drain, options: {api: eviction}}]",
		"steps: [{name: a, plugin: drain, options: {api: evictionRequest, forceAfter: 0s}}]",
		"steps: [{name: a, plugin: drain, options: {forceAfter: 20m}}]",
		"steps: [{name: a, plugin: drain, options: {forceAfter: 0h0m30s, rules: [{selector: {matchLabels: {a: b}}, action: skip}, {selector: {matchLabels: {c: d}}, action: rolloutRestart}]}}]",
		"steps: [{name: a, plugin: volumes}]",
		"steps: [{name: a, plugin: volumes}, {name: b, plugin: drain, options: {api: eviction}}]",
		"guard: {criticalPods: [{namespaces: [kube-system]}]}\nsteps: [{name: a, plugin: logger}]",
		everything,
	} {
		settings, err := config.Parse([]byte(head+steps), plugins.Catalog(plugins.Dependencies{}))
		if err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		for _, object := range fromChart(t, render.Options{Values: parse(t, "config:\n  "+strings.ReplaceAll(steps, "\n", "\n  "))}) {
			if object.GetKind() == "ClusterRole" && object.GetName() == api.AgentSteps {
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, want := access.DescribeRules(role.Rules), access.DescribeRules(access.OfConfig(settings)); role.Name == "" || got != want {
			t.Errorf("%s\nthe chart grants\n%s\nthe command line grants\n%s", steps, got, want)
		}
	}
}
