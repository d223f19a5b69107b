package inspect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
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
		if got := recovered(run, status); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if recovered(nil, nil) {
		t.Error("a node without a record has recovered")
	}
}

// Without a leader or without rights, no agent tries again, however healthy the steps were.
func TestRecoveredNeedsAnAgentThatTriesAgain(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u", Finalizers: []string{api.Finalizer}, DeletionTimestamp: ptr.To(metav1.NewTime(night))}}
	run := &api.Run{State: api.Blocked, CheckAgainAt: ptr.To(metav1.NewMicroTime(night.Add(api.CheckAgainAfter))), Message: api.NotStarted + "step tell (http): connection refused"}
	later := ptr.To(metav1.NewTime(night.Add(time.Second)))
	for name, test := range map[string]struct {
		leader bool
		grants []string
		stuck  bool
		reason string
	}{
		"an agent that tries again": {leader: true, reason: RecoveredReason},
		"no leader":                 {stuck: true, reason: "not current, because no agent is the leader: " + run.Message},
		"no rights":                 {leader: true, grants: []string{"ClusterRoleBinding nodecleanup-agent does not exist"}, stuck: true, reason: "may be out of date, because the agent lacks rights: " + run.Message},
		"no rights of the steps":    {leader: true, grants: []string{"ClusterRoleBinding nodecleanup-agent-steps does not exist"}, stuck: true, reason: run.Message},
	} {
		s := &Snapshot{
			Leadership: cluster.Leadership{HasLeader: test.leader}, MissingGrants: test.grants,
			Status:  &api.AgentStatus{Plugins: []api.PluginHealth{{Step: "tell", Plugin: "http", Checks: true, CheckedAt: later}}},
			Leaving: []*corev1.Node{node}, Runs: map[types.UID]*api.Run{"u": run},
		}
		row := Assess(s, "", night.Add(time.Minute)).Cleanups[0]
		if row.Stuck != test.stuck || row.Reason != test.reason {
			t.Errorf("%s: stuck %v, %s", name, row.Stuck, row.Reason)
		}
	}
}
