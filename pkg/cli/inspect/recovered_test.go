package inspect

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestRecovered(t *testing.T) {
	tried := night
	for name, test := range map[string]struct {
		change func(*api.Run, *api.AgentStatus)
		want   bool
	}{
		"healthy since":          {func(*api.Run, *api.AgentStatus) {}, true},
		"still unhealthy":        {func(_ *api.Run, s *api.AgentStatus) { s.Plugins[0].Error = "connection refused" }, false},
		"lacks a right":          {func(_ *api.Run, s *api.AgentStatus) { s.Plugins[1].MissingRules = []rbacv1.PolicyRule{{}} }, false},
		"checked before":         {func(_ *api.Run, s *api.AgentStatus) { s.Plugins[0].CheckedAt = ptr.To(metav1.NewTime(tried)) }, false},
		"not checked":            {func(_ *api.Run, s *api.AgentStatus) { s.Plugins[0].CheckedAt = nil }, false},
		"one step is not known":  {func(_ *api.Run, s *api.AgentStatus) { s.Plugins = s.Plugins[:1] }, false},
		"blocked by a rebooting": {func(r *api.Run, _ *api.AgentStatus) { r.Message = "the host rebooted" }, false},
		"running":                {func(r *api.Run, _ *api.AgentStatus) { r.State = api.Running }, false},
		"of an older agent":      {func(r *api.Run, _ *api.AgentStatus) { r.CheckAgainAt = nil }, false},
	} {
		run := &api.Run{State: api.Blocked, CheckAgainAt: ptr.To(metav1.NewMicroTime(tried.Add(api.CheckAgainAfter))), Message: api.NotStarted + "step tell (http): connection refused; step volumes (volumes): the agent lacks rights: list pods"}
		later := ptr.To(metav1.NewTime(tried.Add(time.Second)))
		status := &api.AgentStatus{Plugins: []api.PluginHealth{
			{Step: "tell", Plugin: "http", Checks: true, CheckedAt: later}, {Step: "volumes", Plugin: "volumes", Checks: true, CheckedAt: later}, {Step: "other", Plugin: "http", Checks: true, Error: "timeout"},
		}}
		test.change(run, status)
		if got := Recovered(run, status); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if Recovered(nil, nil) {
		t.Error("a node without a record has recovered")
	}
}
