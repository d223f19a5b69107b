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
	first, second, _ := strings.Cut(Manifest("ops", Grants{"": rules}), "\n---\n")
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
	if other := Manifest("ops", Grants{"": rules[:1]}); strings.Contains(other, role.Name) {
		t.Errorf("two roles have the name %s", role.Name)
	}
}

func TestManifestGrantsRulesInNamespaces(t *testing.T) {
	grants := GrantsOf([]Right{
		{Verb: "get", Resource: "configmaps", Name: "b", Namespace: "ops"}, {Verb: "get", Resource: "configmaps", Name: "a", Namespace: "ops"},
		{Verb: "create", Group: "batch", Resource: "jobs", Namespace: "ops"}, {Verb: "list", Group: "batch", Resource: "jobs", Namespace: "ops"},
		{Verb: "list", Resource: "pods", Namespace: "apps"}, {Verb: "delete", Resource: "pods"},
	})
	const want = `{apiGroups: [""], resources: ["pods"], verbs: ["delete"]}; in namespace apps: {apiGroups: [""], resources: ["pods"], verbs: ["list"]}; ` +
		`in namespace ops: {apiGroups: [""], resources: ["configmaps"], resourceNames: ["b"], verbs: ["get"]}, {apiGroups: [""], resources: ["configmaps"], resourceNames: ["a"], verbs: ["get"]}, ` +
		`{apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "list"]}`
	if got := grants.Lines(); got != want {
		t.Errorf("the lines are\n%s\nwant\n%s", got, want)
	}
	documents := strings.Split(Manifest("agents", grants), "\n---\n")
	if len(documents) != 6 {
		t.Fatalf("%d documents, want 6", len(documents))
	}
	var role rbacv1.Role
	var binding rbacv1.RoleBinding
	for text, object := range map[string]any{documents[4]: &role, documents[5]: &binding} {
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if role.Kind != "Role" || role.Namespace != "ops" || !reflect.DeepEqual(role.Rules, grants["ops"]) {
		t.Errorf("the role is %+v", role)
	}
	if binding.Kind != "RoleBinding" || binding.Namespace != "ops" || binding.RoleRef.Kind != "Role" || binding.RoleRef.Name != role.Name || binding.Subjects[0].Namespace != "agents" {
		t.Errorf("the binding is %+v", binding)
	}
	if !(Grants{"ops": nil}).Empty() || grants.Empty() {
		t.Error("grants without rules are not empty")
	}
}

// A name of a namespace can look like a number or a truth value in YAML.
func TestManifestQuotesNamespaces(t *testing.T) {
	for _, namespace := range []string{"ops", "123", "on", "null", "1e3"} {
		for text := range strings.SplitSeq(Manifest(namespace, GrantsOf([]Right{{Verb: "list", Resource: "pods", Namespace: namespace}})), "\n---\n") {
			var object rbacv1.RoleBinding
			if err := yaml.Unmarshal([]byte(text), &object); err != nil {
				t.Errorf("%v in\n%s", err, text)
			}
			if object.Namespace != namespace || object.Kind == "RoleBinding" && object.Subjects[0].Namespace != namespace {
				t.Errorf("namespace %s:\n%s", namespace, text)
			}
		}
	}
}

func TestAddGrantsEachRightOnce(t *testing.T) {
	pods := func(verbs ...string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}
	}
	grants := Grants{"": pods("list", "watch")}
	grants.Add(Grants{"": pods("list"), "ops": pods("get")})
	if want := (Grants{"": pods("list", "watch"), "ops": pods("get")}); !reflect.DeepEqual(grants, want) {
		t.Errorf("got %v, want %v", grants, want)
	}
}
