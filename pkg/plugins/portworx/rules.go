package portworx

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Rules implements cleanup.RuleRequirer.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "patch"}}}
}

// NamespaceRules implements cleanup.NamespaceRuleRequirer.
func (p *plugin) NamespaceRules() map[string][]rbacv1.PolicyRule {
	own := []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{"storagenodes"}, Verbs: []string{"get"}}}
	return map[string][]rbacv1.PolicyRule{p.Namespace: slices.Concat(p.jobRules, own)}
}
