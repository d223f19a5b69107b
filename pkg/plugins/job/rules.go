package job

import rbacv1 "k8s.io/api/rbac/v1"

// NamespaceRules implements cleanup.NamespaceRuleRequirer.
func (p *plugin) NamespaceRules() map[string][]rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, ResourceNames: []string{p.ServiceAccountName}, Verbs: []string{"get"}},
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create", "delete", "list", "watch"}},
	}
	if p.TemplateFrom != nil {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{p.TemplateFrom.ConfigMap}, Verbs: []string{"get"}})
	}
	return map[string][]rbacv1.PolicyRule{p.Namespace: rules}
}
