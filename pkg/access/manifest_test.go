package access

import (
	"reflect"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func TestManifestGrantsTheRules(t *testing.T) {
	rules := Rules([]Right{
		{Verb: "delete", Resource: "pods"}, {Verb: "create", Resource: "pods", Subresource: "eviction"},
		{Verb: "patch", Group: "apps", Resource: "deployments"}, {Verb: "get", Group: "apps", Resource: "deployments"}, {Verb: "delete", Resource: "pods"},
	})
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"patch", "get"}},
	}
	if !reflect.DeepEqual(rules, want) {
		t.Fatalf("the rules are %v, want %v", rules, want)
	}
	first, second, _ := strings.Cut(Manifest("ops", rules), "\n---\n")
	var role rbacv1.ClusterRole
	var binding rbacv1.ClusterRoleBinding
	for text, object := range map[string]any{first: &role, second: &binding} {
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if !reflect.DeepEqual(role.Rules, want) || binding.RoleRef.Name != role.Name || binding.Subjects[0].Namespace != "ops" {
		t.Errorf("the manifest is\n%s\n---\n%s", first, second)
	}
	if other := Manifest("ops", rules[:1]); strings.Contains(other, role.Name) {
		t.Errorf("two roles have the name %s", role.Name)
	}
}
