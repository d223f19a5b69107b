package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Lack is the rights that the agent lacks for one step.
type Lack struct {
	// Step is the name of the step. It is empty for the delete guard.
	Step    string
	Missing []Right
}

// String returns "step drain: delete pods".
func (l Lack) String() string {
	if l.Step == "" {
		return "guard.criticalPods: " + DescribeAll(l.Missing)
	}
	return fmt.Sprintf("step %s: %s", l.Step, DescribeAll(l.Missing))
}

// OfConfig returns the rules that a config needs in addition to those of the agent itself: the rules that
// its steps need or use, and those of the delete guard. They are sorted, with one rule for each resource, and
// never nil.
func OfConfig(settings *config.Config) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, step := range settings.Steps {
		if requirer, can := step.Bound.(cleanup.RuleRequirer); can {
			rules = append(rules, requirer.Rules()...)
		}
		if requirer, can := step.Bound.(cleanup.OptionalRuleRequirer); can {
			rules = append(rules, requirer.OptionalRules()...)
		}
	}
	rules = append(rules, ofGuard(settings.Guard)...)
	var rights []Right
	for _, rule := range rules {
		for _, right := range Of(rule, "") {
			if !slices.Contains(ofAgent(), Describe(right)) {
				rights = append(rights, right)
			}
		}
	}
	merged := append([]rbacv1.PolicyRule{}, Rules(rights)...)
	for _, rule := range merged {
		slices.Sort(rule.Verbs)
	}
	slices.SortFunc(merged, byResource)
	return merged
}

// byResource compares rules about one resource each.
func byResource(a, b rbacv1.PolicyRule) int {
	return cmp.Or(cmp.Compare(a.APIGroups[0], b.APIGroups[0]), cmp.Compare(a.Resources[0], b.Resources[0]))
}

// ofGuard returns the rules that the delete guard needs to find critical Pods.
func ofGuard(guard config.DeleteGuard) []rbacv1.PolicyRule {
	if len(guard.CriticalPods) == 0 {
		return nil
	}
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}
}

// ofAgent are the rights on Nodes that the agent has with every config.
func ofAgent() []string { return []string{"get nodes", "list nodes", "watch nodes", "patch nodes"} }

// MissingOfConfig returns the steps whose plugins and options need rights that are not allowed, and the
// delete guard if it does.
func MissingOfConfig(ctx context.Context, settings *config.Config, ask Ask) ([]Lack, error) {
	lacks, err := MissingOfSteps(ctx, settings.Steps, ask)
	if err != nil {
		return nil, err
	}
	var rights []Right
	for _, rule := range ofGuard(settings.Guard) {
		rights = append(rights, Of(rule, "")...)
	}
	missing, err := Missing(ctx, rights, ask)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		lacks = append(lacks, Lack{Missing: missing})
	}
	return lacks, nil
}

// MissingOfSteps returns the steps whose plugins and options need rights that are not allowed.
func MissingOfSteps(ctx context.Context, steps []config.Step, ask Ask) ([]Lack, error) {
	var lacks []Lack
	for _, step := range steps {
		requirer, can := step.Bound.(cleanup.RuleRequirer)
		if !can {
			continue
		}
		var rights []Right
		for _, rule := range requirer.Rules() {
			rights = append(rights, Of(rule, "")...)
		}
		missing, err := Missing(ctx, rights, ask)
		if err != nil {
			return nil, err
		}
		if len(missing) > 0 {
			lacks = append(lacks, Lack{Step: step.Name, Missing: missing})
		}
	}
	return lacks, nil
}

// DescribeLacks describes lacks in one line.
func DescribeLacks(lacks []Lack) string {
	var texts []string
	for _, lack := range lacks {
		texts = append(texts, lack.String())
	}
	return strings.Join(texts, "; ")
}

// RulesOf returns the rules that grant the missing rights.
func RulesOf(lacks []Lack) []rbacv1.PolicyRule {
	var rights []Right
	for _, lack := range lacks {
		rights = append(rights, lack.Missing...)
	}
	return Rules(rights)
}
