package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Rules returns rules that grant the rights, with one rule for each resource. Names and
// namespaces of the rights are ignored.
func Rules(rights []Right) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, right := range rights {
		resource := resourceOf(right)
		i := slices.IndexFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return rule.APIGroups[0] == right.Group && rule.Resources[0] == resource
		})
		if i < 0 {
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{right.Group}, Resources: []string{resource}})
			i = len(rules) - 1
		}
		if !slices.Contains(rules[i].Verbs, right.Verb) {
			rules[i].Verbs = append(rules[i].Verbs, right.Verb)
		}
	}
	return rules
}

// DescribeRules describes the rights that rules grant, in one line.
func DescribeRules(rules []rbacv1.PolicyRule) string {
	var rights []Right
	for _, rule := range rules {
		rights = append(rights, Of(rule, "")...)
	}
	return DescribeAll(rights)
}

// Line returns a rule as YAML in one line.
func Line(rule rbacv1.PolicyRule) string {
	return fmt.Sprintf("{apiGroups: %s, resources: %s, verbs: %s}", quoted(rule.APIGroups), quoted(rule.Resources), quoted(rule.Verbs))
}

// Lines returns rules as YAML in one line.
func Lines(rules []rbacv1.PolicyRule) string {
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

// Manifest returns YAML that gives the rules to the agent in a namespace. The name of the role
// depends on the rules, so that a later manifest with other rules does not replace it.
func Manifest(namespace string, rules []rbacv1.PolicyRule) string {
	var list strings.Builder
	for _, rule := range rules {
		fmt.Fprintf(&list, "\n- %s", Line(rule))
	}
	sum := sha256.Sum256([]byte(list.String()))
	name := api.Agent + "-steps-" + hex.EncodeToString(sum[:])[:6]
	return fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: %[1]s
  labels: {%[2]s: %[3]s}
rules:%[4]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: %[1]s
  labels: {%[2]s: %[3]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects:
- {kind: ServiceAccount, name: %[5]s, namespace: %[6]s}`, name, api.LabelName, api.LabelNameValue, list.String(), api.Agent, namespace)
}
