package agreement_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
		"jobs: [{namespace: ops, serviceAccounts: [b, a]}, {namespace: apps, serviceAccounts: [default]}]\n" +
			"steps: [{name: a, plugin: job, options: {namespace: ops, serviceAccountName: b, templateFrom: {configMap: second}}}, " +
			"{name: b, plugin: job, options: {namespace: ops, serviceAccountName: a, templateFrom: {configMap: first}}}, " +
			"{name: c, plugin: job, options: {namespace: ops, serviceAccountName: a, templateFrom: {configMap: first}}}, " +
			"{name: d, plugin: job, options: {namespace: apps, template: {spec: {containers: [{name: main, image: a}]}}}}]",
		// YAML reads such names as a number and as a boolean if they have no quotes.
		"jobs: [{namespace: '456', serviceAccounts: ['123']}]\n" +
			"steps: [{name: a, plugin: job, options: {namespace: '456', serviceAccountName: '123', templateFrom: {configMap: 'on'}}}]",
		everything,
	} {
		settings, err := config.Parse([]byte(head+steps), plugins.Catalog(plugins.Dependencies{}))
		if err != nil {
			t.Fatal(err)
		}
		got := stepRights(t, fromChart(t, render.Options{Values: parse(t, "config:\n  "+strings.ReplaceAll(steps, "\n", "\n  "))}))
		if want := rightsIn(access.OfConfig(settings)); !slices.Equal(got, want) {
			t.Errorf("%s\nthe chart grants\n%s\nthe command line grants\n%s", steps, got, want)
		}
	}
}

// rightsOf begins the names of the components that change the rights of the steps.
const rightsOf = "rights-"

// A component grants what the chart grants for a config with that option.
func TestRightsComponents(t *testing.T) {
	configs := map[string]string{
		"rights-none":            "[{name: a, plugin: logger}]",
		"rights-force-after":     "[{name: a, plugin: drain, options: {forceAfter: 20m}}, {name: b, plugin: volumes}]",
		"rights-rollout-restart": "[{name: a, plugin: drain, options: {rules: [{selector: {matchLabels: {a: b}}, action: rolloutRestart}]}}, {name: b, plugin: volumes}]",
	}
	for _, folder := range folders(t, manifests+"/components") {
		name := filepath.Base(folder)
		if !strings.HasPrefix(name, rightsOf) {
			continue
		}
		got := stepRights(t, fromKustomize(t, with(t, folder)))
		if want := stepRights(t, fromChart(t, render.Options{Values: parse(t, "config: {steps: "+configs[name]+"}")})); configs[name] == "" || !slices.Equal(got, want) {
			t.Errorf("%s grants\n%s\nthe chart grants\n%s", name, got, want)
		}
	}
}

// stepRights returns the rights of the steps among rendered objects, sorted.
func stepRights(t *testing.T, objects map[string]*unstructured.Unstructured) []string {
	t.Helper()
	grants := access.Grants{}
	for _, object := range objects {
		if object.GetKind() != "ClusterRole" && object.GetKind() != "Role" || object.GetName() != api.AgentSteps {
			continue
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			t.Fatal(err)
		}
		grants[object.GetNamespace()] = role.Rules
	}
	if _, found := grants[""]; !found {
		t.Fatal("there is no role for the steps")
	}
	return rightsIn(grants)
}

func rightsIn(grants access.Grants) []string {
	var rights []string
	for namespace, rules := range grants {
		for _, rule := range rules {
			for _, right := range access.Of(rule, namespace) {
				rights = append(rights, access.Describe(right))
			}
		}
	}
	slices.Sort(rights)
	return rights
}
