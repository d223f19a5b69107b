package install

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// stepRoles returns a Role and its binding for each namespace in which steps need rights. They have the
// labels and the subject of the binding for all namespaces.
func stepRoles(everywhere *unstructured.Unstructured, options Options) ([]*unstructured.Unstructured, error) {
	subjects, _, err := unstructured.NestedSlice(everywhere.Object, "subjects")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, namespace := range slices.Sorted(maps.Keys(options.StepRules)) {
		rules := options.StepRules[namespace]
		if namespace == "" || len(rules) == 0 {
			continue
		}
		object := func(kind string) *unstructured.Unstructured {
			made := &unstructured.Unstructured{}
			made.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind(kind))
			made.SetNamespace(namespace)
			made.SetName(api.AgentSteps)
			made.SetLabels(everywhere.GetLabels())
			return made
		}
		role, binding := object("Role"), object("RoleBinding")
		if err := setRules(role, rules); err != nil {
			return nil, err
		}
		binding.Object["roleRef"] = map[string]any{"apiGroup": rbacv1.GroupName, "kind": "Role", "name": api.AgentSteps}
		if err := unstructured.SetNestedSlice(binding.Object, subjects, "subjects"); err != nil {
			return nil, err
		}
		objects = append(objects, role, binding)
	}
	return objects, nil
}
