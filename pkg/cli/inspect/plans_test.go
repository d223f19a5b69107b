package inspect

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestPlanIsBlockedIfTheAgentWouldNotRunIt(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	lease, stopped := &coordinationv1.Lease{}, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(0))}}
	leads := cluster.Leadership{Lease: lease, HasLeader: true}
	status := func(plugins ...api.PluginHealth) *api.AgentStatus {
		return &api.AgentStatus{ConfigHash: "abc", Plugins: plugins}
	}
	failed := api.PluginHealth{Step: "tell", Plugin: "http", Critical: true, Checks: true, Error: "connection refused", CheckedAt: &metav1.Time{Time: now.Add(-40 * time.Second)}}
	changed := func(change func(*api.PluginHealth)) api.PluginHealth {
		one := failed
		change(&one)
		return one
	}
	const unhealthy = "step tell: its last health check, 40s ago, failed: connection refused → fix the cause, then check it again: kubectl nodecleanup preflight worker"
	for name, test := range map[string]struct {
		snapshot Snapshot
		before   []printer.Blocker
		want     string
	}{
		"no agent ever":    {},
		"scaled to 0":      {snapshot: Snapshot{Deployment: stopped, Status: status(failed)}, want: "the agent: no agent runs cleanups: scaled to 0 replicas → kubectl -n ns scale deployment nodecleanup-agent --replicas=2"},
		"wrong image":      {snapshot: Snapshot{Deployment: &appsv1.Deployment{}, Stall: &cluster.Stall{Text: "ErrImagePull", Image: true, Pod: "a"}}, want: "the agent: no agent runs cleanups: no leader; ErrImagePull → check the image, the registry and the pull secret: kubectl -n ns describe pod a"},
		"deleted":          {snapshot: Snapshot{Leadership: cluster.Leadership{Lease: lease}}, want: "the agent: no agent runs cleanups: no deployment nodecleanup-agent in namespace ns → kubectl nodecleanup install --wait"},
		"rights missing":   {snapshot: Snapshot{Deployment: &appsv1.Deployment{}, MissingGrants: []string{"ClusterRole a does not exist"}}},
		"healthy":          {snapshot: Snapshot{Leadership: leads, Status: status(changed(func(p *api.PluginHealth) { p.Error = "" }))}},
		"unhealthy":        {snapshot: Snapshot{Leadership: leads, Status: status(failed)}, want: unhealthy},
		"without a time":   {snapshot: Snapshot{Leadership: leads, Status: status(changed(func(p *api.PluginHealth) { p.CheckedAt = nil }))}, want: strings.Replace(unhealthy, ", 40s ago,", "", 1)},
		"not critical":     {snapshot: Snapshot{Leadership: leads, Status: status(changed(func(p *api.PluginHealth) { p.Critical = false }))}},
		"not planned":      {snapshot: Snapshot{Leadership: leads, Status: status(changed(func(p *api.PluginHealth) { p.Step = "other" }))}},
		"lacks rights":     {snapshot: Snapshot{Leadership: leads, Status: status(changed(func(p *api.PluginHealth) { p.Error = "the agent lacks rights: list pods" }))}},
		"another config":   {snapshot: Snapshot{Leadership: leads, Status: &api.AgentStatus{ConfigHash: "def", Plugins: []api.PluginHealth{failed}}}},
		"no status yet":    {snapshot: Snapshot{Leadership: leads}},
		"no Secret either": {snapshot: Snapshot{Leadership: leads, Status: status(failed)}, before: []printer.Blocker{{What: "step tell", Reason: "secret"}}, want: "step tell: secret → "},
	} {
		t.Run(name, func(t *testing.T) {
			plan := printer.NewPlan("worker")
			plan.Steps, plan.Blocked = []printer.PlanStep{{Name: "tell"}}, test.before
			test.snapshot.Namespace = "ns"
			BlockPlan(&test.snapshot, plan, "abc", now)
			var got []string
			for _, blocker := range plan.Blocked {
				got = append(got, blocker.What+": "+blocker.Reason+" → "+blocker.Remedy)
			}
			if text := strings.Join(got, "\n"); text != test.want {
				t.Errorf("the blockers are\n%s\nwant\n%s", text, test.want)
			}
		})
	}
}
