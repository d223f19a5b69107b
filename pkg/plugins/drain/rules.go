package drain

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Rules implements cleanup.RuleRequirer. With forceAfter, Pods are deleted; a rule with rolloutRestart patches their controllers.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
	}
	if p.ForceAfter.Duration > 0 {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"delete"}})
	}
	if slices.ContainsFunc(p.options.Rules, func(rule podRule) bool { return rule.Action == ruleRestart }) {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments", "statefulsets"}, Verbs: []string{"get", "patch"}})
	}
	if p.API == evictionRequest {
		rules = append(rules, evictionRequestRule())
	}
	return rules
}

// OptionalRules implements cleanup.OptionalRuleRequirer. Without poddisruptionbudgets, the drain retries
// blocked evictions by backoff; without namespaces, it cannot say why a namespace remains.
func (p *plugin) OptionalRules() []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}},
	}
	if p.API == auto {
		rules = append(rules, evictionRequestRule())
	}
	return rules
}

// evictionRequestRule lets the drain request, follow and withdraw evictions by EvictionRequests.
func evictionRequestRule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"lifecycle.k8s.io"}, Resources: []string{"evictionrequests"}, Verbs: []string{"create", "list", "watch", "delete"}}
}
