package inspect

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// A drain that waited for a budget when its agent stopped: nobody knows whether it still would.
func TestProgressWithoutAnAgentIsNotShownAsPresent(t *testing.T) {
	const progress = "1 pod remaining: shop/cart-0 (change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart)"
	draining := []api.StepRun{{Name: "drain", Critical: true, State: api.StepRunning, Progress: progress, Counts: &api.Counts{Done: 1, Total: 2}}}
	noLeader := func(s *Snapshot) { s.Leadership = cluster.Leadership{} }
	for name, test := range map[string]struct {
		change func(*Snapshot)
		state  api.State
		steps  []api.StepRun
		want   string
		stuck  bool
	}{
		"an agent leads":   {func(*Snapshot) {}, api.Running, draining, progress, true},
		"no agent leads":   {noLeader, api.Running, draining, "not current, because no agent is the leader: " + progress, false},
		"of the condition": {noLeader, api.Running, nil, "not current, because no agent is the leader: m", false},
		"it stopped": {func(s *Snapshot) {
			s.Leadership.HasLeader, s.Leadership.Lease.Spec.RenewTime = false, ptr.To(metav1.NewMicroTime(night.Add(-10*time.Minute)))
		}, api.Running, draining, "as of 2026-11-23T02:50:00Z, when an agent last was the leader: " + progress, false},
		"it lacks rights": {func(s *Snapshot) {
			s.MissingGrants = []string{"ClusterRoleBinding nodecleanup-agent does not exist"}
		}, api.Running, draining, "may be out of date, because the agent lacks rights: " + progress, false},
		"it lacks the rights of the steps, and says so": {func(s *Snapshot) {
			s.MissingGrants = []string{"ClusterRole nodecleanup-agent-steps does not exist"}
		}, api.Running, draining, progress, true},
		"failed before": {noLeader, api.Failed, []api.StepRun{{Name: "drain", Critical: true, State: api.StepFailed}}, "m", true},
		"fails often":   {noLeader, api.Waiting, []api.StepRun{{Name: "drain", Critical: true, State: api.StepRetrying, Failures: 3}}, "not current, because no agent is the leader: m", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := working(t)
			s.leave("ip-10-0-7", time.Minute, test.state, "m", test.steps...)
			test.change(s)
			row := Assess(s, "v0.3.1", night).Cleanups[0]
			if row.Reason != test.want || row.Stuck != test.stuck || row.Counts != nil && row.Reason != progress {
				t.Errorf("reason %q, stuck %v, counts %v, want %q, %v", row.Reason, row.Stuck, row.Counts, test.want, test.stuck)
			}
		})
	}
}
