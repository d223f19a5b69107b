package access_test

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type needy struct{}

func (needy) Notify(context.Context, cleanup.Notification) (string, error) { return "", nil }

func (needy) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{"chat.example.com"}, Resources: []string{"messages"}, Verbs: []string{"create"}}}
}

// The rights that a notification needs count as those of a step.
func TestRightsOfNotifications(t *testing.T) {
	settings := &config.Config{Notifications: []config.Notification{{Name: "ops", Bound: needy{}}}}
	if got := access.OfConfig(settings).Describe(); got != "create messages.chat.example.com" {
		t.Errorf("the rights are %s", got)
	}
	lacks, err := access.MissingOfConfig(t.Context(), settings, func(context.Context, access.Right) (bool, error) { return false, nil })
	if text := access.DescribeLacks(lacks); text != "notification ops: create messages.chat.example.com" || err != nil {
		t.Errorf("the agent lacks %s, %v", text, err)
	}
}
