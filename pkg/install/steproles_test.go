package install

import (
	"reflect"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// TestRightsInSingleNamespaces renders the rights of steps that need them in single namespaces.
func TestRightsInSingleNamespaces(t *testing.T) {
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create"}}}
	objects, err := Render(t.Context(), Options{Namespace: "elsewhere", StepRules: map[string][]rbacv1.PolicyRule{"": {}, "ops": rules, "apps": rules, "none": nil}})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, object := range objects {
		if object.GetName() != api.AgentSteps {
			continue
		}
		found = append(found, object.GetKind()+" "+object.GetNamespace())
		if !ours(object) || object.GetLabels()[labelManagedBy] != api.FieldManager {
			t.Errorf("%s has the labels %v", found[len(found)-1], object.GetLabels())
		}
		switch object.GetKind() {
		case "Role":
			var role rbacv1.Role
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil || !reflect.DeepEqual(role.Rules, rules) {
				t.Errorf("the rules are %v, %v", role.Rules, err)
			}
		case "RoleBinding":
			var binding rbacv1.RoleBinding
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &binding); err != nil {
				t.Fatal(err)
			}
			if binding.RoleRef != (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: api.AgentSteps}) ||
				!reflect.DeepEqual(binding.Subjects, []rbacv1.Subject{{Kind: "ServiceAccount", Name: api.Agent, Namespace: "elsewhere"}}) {
				t.Errorf("the binding is %+v", binding)
			}
		}
	}
	if want := []string{"ClusterRole ", "ClusterRoleBinding ", "Role apps", "RoleBinding apps", "Role ops", "RoleBinding ops"}; !slices.Equal(found, want) {
		t.Errorf("rendered %v, want %v", found, want)
	}
}
