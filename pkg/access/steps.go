package access

import (
	"cmp"
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Lack is the rights that the agent lacks for one step or one notification.
type Lack struct {
	// Step is the name of the step, Notification that of the notification. Both are empty for the delete
	// guard.
	Step, Notification string
	Missing            []Right
}

// Place returns what needs the rights: "step drain", "notification ops" or "guard.criticalPods".
func (l Lack) Place() string {
	switch {
	case l.Step != "":
		return "step " + l.Step
	case l.Notification != "":
		return "notification " + l.Notification
	}
	return "guard.criticalPods"
}

// String returns "step drain: delete pods".
func (l Lack) String() string { return l.Place() + ": " + DescribeAll(l.Missing) }

// OfConfig returns the rules that a config needs in addition to those of the agent itself: the rules that
// its steps and notifications need or use, and those of the delete guard. They are sorted, with one rule for each resource, and
// never nil.
func OfConfig(settings *config.Config) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, step := range settings.Steps {
		rules = append(rules, ofPlugin(step.Bound)...)
	}
	for _, notification := range settings.Notifications {
		rules = append(rules, ofPlugin(notification.Bound)...)
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

// ofPlugin returns the rules that a plugin needs or uses.
func ofPlugin(bound any) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	if requirer, can := bound.(cleanup.RuleRequirer); can {
		rules = append(rules, requirer.Rules()...)
	}
	if requirer, can := bound.(cleanup.OptionalRuleRequirer); can {
		rules = append(rules, requirer.OptionalRules()...)
	}
	return rules
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

// MissingOfConfig returns the steps and notifications whose plugins and options need rights that are not
// allowed, and the delete guard if it does.
func MissingOfConfig(ctx context.Context, settings *config.Config, ask Ask) ([]Lack, error) {
	lacks, err := MissingOfPlugins(ctx, settings.Steps, settings.Notifications, ask)
	if err != nil {
		return nil, err
	}
	lack := Lack{}
	if lack.Missing, err = missingOfRules(ctx, ofGuard(settings.Guard), ask); err != nil {
		return nil, err
	}
	if len(lack.Missing) > 0 {
		lacks = append(lacks, lack)
	}
	return lacks, nil
}

// MissingOfPlugins returns the steps and notifications whose plugins and options need rights that are not
// allowed.
func MissingOfPlugins(ctx context.Context, steps []config.Step, notifications []config.Notification, ask Ask) ([]Lack, error) {
	var lacks []Lack
	add := func(lack Lack, bound any) error {
		requirer, can := bound.(cleanup.RuleRequirer)
		if !can {
			return nil
		}
		var err error
		if lack.Missing, err = missingOfRules(ctx, requirer.Rules(), ask); err != nil {
			return err
		}
		if len(lack.Missing) > 0 {
			lacks = append(lacks, lack)
		}
		return nil
	}
	for _, step := range steps {
		if err := add(Lack{Step: step.Name}, step.Bound); err != nil {
			return nil, err
		}
	}
	for _, notification := range notifications {
		if err := add(Lack{Notification: notification.Name}, notification.Bound); err != nil {
			return nil, err
		}
	}
	return lacks, nil
}

func missingOfRules(ctx context.Context, rules []rbacv1.PolicyRule, ask Ask) ([]Right, error) {
	var rights []Right
	for _, rule := range rules {
		rights = append(rights, Of(rule, "")...)
	}
	return Missing(ctx, rights, ask)
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
