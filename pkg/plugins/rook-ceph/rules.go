package rookceph

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// NamespaceRules implements cleanup.NamespaceRuleRequirer.
func (p *plugin) NamespaceRules() map[string][]rbacv1.PolicyRule {
	own := []rbacv1.PolicyRule{
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"delete", "list", "patch"}},
		{APIGroups: []string{cephGroup}, Resources: []string{"cephclusters"}, Verbs: []string{"list"}},
	}
	runner, err := p.runs(evacuate, nil)
	if err != nil {
		panic(err) // The options are valid, so those of the Job are. A test of the catalog binds them.
	}
	return map[string][]rbacv1.PolicyRule{p.Namespace: slices.Concat(runner.NamespaceRules()[p.Namespace], own)}
}
