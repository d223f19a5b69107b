package access

import (
	"context"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Lack is the rights that the agent lacks for one step.
type Lack struct {
	Step    string
	Missing []Right
}

// String returns "step drain: delete pods".
func (l Lack) String() string { return fmt.Sprintf("step %s: %s", l.Step, DescribeAll(l.Missing)) }

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
