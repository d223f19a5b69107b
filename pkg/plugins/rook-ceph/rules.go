package rookceph

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Rules implements cleanup.RuleRequirer.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"list"}}}
}

// NamespaceRules implements cleanup.NamespaceRuleRequirer.
func (p *plugin) NamespaceRules() map[string][]rbacv1.PolicyRule {
	return map[string][]rbacv1.PolicyRule{p.Namespace: slices.Concat(p.jobRules, []rbacv1.PolicyRule{
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"delete", "list", "patch"}},
		{APIGroups: []string{cephGroup}, Resources: []string{"cephclusters"}, Verbs: []string{"list"}},
	})}
}
