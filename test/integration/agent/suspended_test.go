package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// The leader's process is stopped during a drain for longer than its Lease lasts, as if its
// machine were suspended. When it continues, the time of its next evictions has passed, and
// another agent leads.
func TestResumedFormerLeaderEvictsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute, until a lease runs out and evictions are due")
	}
	const pods = 10
	f := setUp(t, "steps: [{name: drain, plugin: drain, options: {allowUnmanaged: true}}]\n")
	user, groups := f.user()
	kubeconfig, err := shared.KubeconfigFor(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	suspended := f.processWith(kubeconfig, "--lease-duration=3s", "--lease-renew-deadline=2s", "--lease-retry-period=100ms")
	if err := suspended.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	node := f.protected("worker")
	blocked := f.blockedPods(node, pods)
	begin := f.mark()
	f.delete(node)
	evictions := func(since cluster.AuditMark, agent string) int {
		tries := 0
		for _, request := range f.audited(since) {
			if request.Subresource == "eviction" && strings.HasPrefix(request.UserAgent, api.Agent+"/"+agent) {
				tries++
			}
		}
		return tries
	}
	f.eventually("the leader tries to evict each pod", func(context.Context) (bool, error) {
		return evictions(begin, version.Version) >= pods, nil
	})
	if err := suspended.Pause(); err != nil {
		t.Fatal(err)
	}
	options := f.options()
	options.Identity = "awake"
	f.start(options)
	stopped := f.mark()
	f.eventually("the other agent tries to evict each pod", func(context.Context) (bool, error) {
		return evictions(stopped, options.Version) >= pods, nil
	})
	due := time.NewTimer(11 * time.Second) // Longer than the longest pause between two tries.
	<-due.C
	woken := f.mark()
	if err := suspended.Resume(); err != nil {
		t.Fatal(err)
	}
	f.eventually("the agent that was suspended looks at the Lease", func(context.Context) (bool, error) {
		for _, request := range f.audited(woken) {
			if request.Resource == "leases" && request.Verb == "get" && strings.HasPrefix(request.UserAgent, api.Agent+"-lease/"+version.Version) {
				return true, nil
			}
		}
		return false, nil
	})
	f.openBudget()
	// No kubelet removes the evicted Pods here.
	f.eventually("the other agent evicts each pod", func(ctx context.Context) (bool, error) {
		for _, pod := range blocked {
			current, err := f.client.CoreV1().Pods(pod.Namespace).List(ctx, listNamed(pod.Name))
			if err != nil {
				return false, err
			}
			if len(current.Items) > 0 && current.Items[0].DeletionTimestamp == nil {
				return false, nil
			}
		}
		return true, nil
	})
	for _, pod := range blocked {
		f.removePod(pod)
	}
	f.awaitDeleted(node)
	for _, request := range f.audited(woken) {
		if writes := request.Verb != "get" && request.Verb != "list" && request.Verb != "watch"; writes &&
			strings.HasPrefix(request.UserAgent, api.Agent+"/"+version.Version) {
			t.Errorf("the agent that was suspended sent %s %s: %d", request.Verb, request.URI, request.Code)
		}
	}
	if run := f.record(node); run.State != api.Succeeded || run.Step("drain").Attempts != 2 {
		t.Errorf("the run record says %+v", run)
	}
}
