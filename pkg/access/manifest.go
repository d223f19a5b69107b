package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Grants are rules by namespace. Those under "" are for all namespaces.
type Grants map[string][]rbacv1.PolicyRule

// GrantsOf returns rules that grant the rights.
func GrantsOf(rights []Right) Grants {
	byNamespace := map[string][]Right{}
	for _, right := range rights {
		byNamespace[right.Namespace] = append(byNamespace[right.Namespace], right)
	}
	grants := Grants{}
	for namespace, rights := range byNamespace {
		grants[namespace] = Rules(rights)
	}
	return grants
}

// Namespaces returns the namespaces in which the grants have rules, sorted, without "".
func (g Grants) Namespaces() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(g)) {
		if name != "" && len(g[name]) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Empty reports whether there is no rule.
func (g Grants) Empty() bool { return len(g[""]) == 0 && len(g.Namespaces()) == 0 }

// Rights returns the rights that are granted.
func (g Grants) Rights() []Right {
	var rights []Right
	for _, namespace := range append([]string{""}, g.Namespaces()...) {
		for _, rule := range g[namespace] {
			rights = append(rights, Of(rule, namespace)...)
		}
	}
	return rights
}

// Describe describes the rights that are granted, in one line.
func (g Grants) Describe() string { return DescribeAll(g.Rights()) }

// Lines returns the rules as YAML in one line, with the namespace before those of a namespace.
func (g Grants) Lines() string {
	var parts []string
	if len(g[""]) > 0 {
		parts = append(parts, lines(g[""]))
	}
	for _, namespace := range g.Namespaces() {
		parts = append(parts, "in namespace "+namespace+": "+lines(g[namespace]))
	}
	return strings.Join(parts, "; ")
}

// Rules returns rules that grant the rights, with one rule for each resource, and for each name of
// rights on single objects. Namespaces of the rights are ignored.
func Rules(rights []Right) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, right := range rights {
		resource := resourceOf(right)
		var names []string
		if right.Name != "" {
			names = []string{right.Name}
		}
		i := slices.IndexFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return rule.APIGroups[0] == right.Group && rule.Resources[0] == resource && slices.Equal(rule.ResourceNames, names)
		})
		if i < 0 {
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{right.Group}, Resources: []string{resource}, ResourceNames: names})
			i = len(rules) - 1
		}
		if !slices.Contains(rules[i].Verbs, right.Verb) {
			rules[i].Verbs = append(rules[i].Verbs, right.Verb)
		}
	}
	return rules
}

// Line returns a rule as YAML in one line.
func Line(rule rbacv1.PolicyRule) string {
	names := ""
	if len(rule.ResourceNames) > 0 {
		names = "resourceNames: " + quoted(rule.ResourceNames) + ", "
	}
	return fmt.Sprintf("{apiGroups: %s, resources: %s, %sverbs: %s}", quoted(rule.APIGroups), quoted(rule.Resources), names, quoted(rule.Verbs))
}

func lines(rules []rbacv1.PolicyRule) string {
	var lines []string
	for _, rule := range rules {
		lines = append(lines, Line(rule))
	}
	return strings.Join(lines, ", ")
}

func quoted(words []string) string {
	var quoted []string
	for _, word := range words {
		quoted = append(quoted, fmt.Sprintf("%q", word))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Manifest returns YAML that gives the rules to the agent in a namespace. The name of each role depends
// on its rules, so that a later manifest with other rules does not replace it.
func Manifest(namespace string, grants Grants) string {
	var documents []string
	if len(grants[""]) > 0 {
		documents = append(documents, role("Cluster", "", namespace, grants[""]))
	}
	for _, in := range grants.Namespaces() {
		documents = append(documents, role("", in, namespace, grants[in]))
	}
	return strings.Join(documents, "\n---\n")
}

// role returns a role and its binding. The scope is "Cluster", or "" for a role in a namespace.
func role(scope, in, agent string, rules []rbacv1.PolicyRule) string {
	var list strings.Builder
	for _, rule := range rules {
		fmt.Fprintf(&list, "\n- %s", Line(rule))
	}
	sum := sha256.Sum256([]byte(list.String()))
	name, at := api.AgentSteps+"-"+hex.EncodeToString(sum[:])[:6], ""
	if in != "" {
		at = fmt.Sprintf("\n  namespace: %q", in) // One such as 123 is a number without quotes.
	}
	return fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: %[7]sRole
metadata:
  name: %[1]s%[8]s
  labels: {%[2]s: %[3]s}
rules:%[4]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[7]sRoleBinding
metadata:
  name: %[1]s%[8]s
  labels: {%[2]s: %[3]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %[7]sRole, name: %[1]s}
subjects:
- {kind: ServiceAccount, name: %[5]s, namespace: %[6]q}`, name, api.LabelName, api.LabelNameValue, list.String(), api.Agent, agent, scope, at)
}
