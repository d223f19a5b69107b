package longhorn

import rbacv1 "k8s.io/api/rbac/v1"

// Rules implements cleanup.RuleRequirer.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}}}
}

// NamespaceRules implements cleanup.NamespaceRuleRequirer.
func (p *plugin) NamespaceRules() map[string][]rbacv1.PolicyRule {
	return map[string][]rbacv1.PolicyRule{p.Namespace: {
		{APIGroups: []string{group}, Resources: []string{"backingimages"}, Verbs: []string{"get"}},
		{APIGroups: []string{group}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "patch"}},
		{APIGroups: []string{group}, Resources: []string{"replicas"}, Verbs: []string{"list"}},
		{APIGroups: []string{group}, Resources: []string{"shards"}, Verbs: []string{"list"}},
		{APIGroups: []string{group}, Resources: []string{"volumes"}, Verbs: []string{"get"}},
	}}
}
