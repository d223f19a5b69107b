package access

import (
	"cmp"
	"context"
	"maps"
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
// its steps and notifications need or use, and those of the delete guard. They are sorted, with one rule for
// each resource. Those for all namespaces are never nil.
func OfConfig(settings *config.Config) Grants {
	var rights []Right
	for _, step := range settings.Steps {
		rights = append(rights, usedBy(step.Bound)...)
	}
	for _, notification := range settings.Notifications {
		rights = append(rights, usedBy(notification.Bound)...)
	}
	rights = append(rights, ofRules(ofGuard(settings.Guard), "")...)
	rights = slices.DeleteFunc(rights, func(right Right) bool { return slices.Contains(ofAgent(), Describe(right)) })
	grants := GrantsOf(rights)
	if grants[""] == nil {
		grants[""] = []rbacv1.PolicyRule{}
	}
	for _, rules := range grants {
		for _, rule := range rules {
			slices.Sort(rule.Verbs)
		}
		slices.SortFunc(rules, byResource)
	}
	return grants
}

// ofPlugin returns the rights that a plugin needs.
func ofPlugin(bound any) []Right {
	var rights []Right
	if requirer, can := bound.(cleanup.RuleRequirer); can {
		rights = append(rights, ofRules(requirer.Rules(), "")...)
	}
	if requirer, can := bound.(cleanup.NamespaceRuleRequirer); can {
		rules := requirer.NamespaceRules()
		for _, namespace := range slices.Sorted(maps.Keys(rules)) {
			rights = append(rights, ofRules(rules[namespace], namespace)...)
		}
	}
	return rights
}

// usedBy returns the rights that a plugin needs or uses.
func usedBy(bound any) []Right {
	rights := ofPlugin(bound)
	if requirer, can := bound.(cleanup.OptionalRuleRequirer); can {
		rights = append(rights, ofRules(requirer.OptionalRules(), "")...)
	}
	return rights
}

func ofRules(rules []rbacv1.PolicyRule, namespace string) []Right {
	var rights []Right
	for _, rule := range rules {
		rights = append(rights, Of(rule, namespace)...)
	}
	return rights
}

// byResource compares rules about one resource each, and about one name or all.
func byResource(a, b rbacv1.PolicyRule) int {
	return cmp.Or(cmp.Compare(a.APIGroups[0], b.APIGroups[0]), cmp.Compare(a.Resources[0], b.Resources[0]), slices.Compare(a.ResourceNames, b.ResourceNames))
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
	if lack.Missing, err = Missing(ctx, ofRules(ofGuard(settings.Guard), ""), ask); err != nil {
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
		var err error
		if lack.Missing, err = Missing(ctx, ofPlugin(bound), ask); err != nil {
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

// DescribeLacks describes lacks in one line.
func DescribeLacks(lacks []Lack) string {
	var texts []string
	for _, lack := range lacks {
		texts = append(texts, lack.String())
	}
	return strings.Join(texts, "; ")
}

// GrantsOfLacks returns the rules that grant the missing rights.
func GrantsOfLacks(lacks []Lack) Grants {
	var rights []Right
	for _, lack := range lacks {
		rights = append(rights, lack.Missing...)
	}
	return GrantsOf(rights)
}

// Reported returns the rules that the agent has reported as missing for a step: those for all namespaces,
// and those in single ones.
func Reported(rules []rbacv1.PolicyRule, byNamespace map[string][]rbacv1.PolicyRule) Grants {
	grants := Grants{}
	maps.Copy(grants, byNamespace)
	if len(rules) > 0 {
		grants[""] = rules
	}
	return grants
}

// Add adds the rules of other grants. A right that both grant is in the result once.
func (g Grants) Add(other Grants) {
	for namespace, rules := range other {
		var rights []Right
		for _, rule := range slices.Concat(g[namespace], rules) {
			rights = append(rights, Of(rule, namespace)...)
		}
		g[namespace] = Rules(rights)
	}
}
