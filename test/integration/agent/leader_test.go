package agent_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// TestALeaderThatLostTheLeaseRecordsNothingAndTheNextOneResumes: the lease is
// stolen while a step runs. That step is told to stop, what it returns then does
// not count, and the next leader runs it again by the same key.
func TestALeaderThatLostTheLeaseRecordsNothingAndTheNextOneResumes(t *testing.T) {
	f := setUp(t, "steps:\n- {name: before, plugin: probe, options: {do: before}}\n- {name: step, plugin: probe, dependsOn: [before], options: {do: step}}\n")
	var mutex sync.Mutex
	var attempts []int
	var keys []string
	before := 0
	began := make(chan struct{}, 10)
	f.probes["before"] = func(context.Context, cleanup.Target) error {
		mutex.Lock()
		defer mutex.Unlock()
		before++
		return nil
	}
	f.probes["step"] = func(ctx context.Context, target cleanup.Target) error {
		mutex.Lock()
		attempts, keys = append(attempts, target.Attempt), append(keys, target.IdempotencyKey)
		first := len(attempts) == 1
		mutex.Unlock()
		if first {
			began <- struct{}{}
			<-ctx.Done() // The leadership is lost; what is returned comes too late.
		}
		return nil
	}
	for _, identity := range []string{"one", "two"} {
		options := f.options()
		options.Identity = identity
		f.start(options)
	}
	node := f.protected("worker")
	f.delete(node)
	<-began
	leases := f.client.CoordinationV1().Leases(f.namespace)
	lease, err := leases.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The leader renews all the time, so the first try may meet a conflict.
	f.eventually("the lease is stolen", func(ctx context.Context) (bool, error) {
		lease.Spec.HolderIdentity = ptr.To("thief")
		lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(time.Now()))
		if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err == nil {
			return true, nil
		}
		var err error
		lease, err = leases.Get(ctx, api.Agent, metav1.GetOptions{})
		return false, err
	})
	f.awaitGone(node)
	mutex.Lock()
	defer mutex.Unlock()
	key := string(node.UID) + "/step"
	if before != 1 || !slices.Equal(attempts, []int{1, 2}) || !slices.Equal(keys, []string{key, key}) {
		t.Errorf("before ran %d times; attempts %v with keys %q", before, attempts, keys)
	}
}

func TestAnAgentThatStopsGivesTheLeaseBack(t *testing.T) {
	f := setUp(t, logOnly)
	stop := f.start(f.options())
	leases := f.client.CoordinationV1().Leases(f.namespace)
	f.eventually("the agent leads", func(ctx context.Context) (bool, error) {
		list, err := leases.List(ctx, listNamed(api.Agent))
		return err == nil && len(list.Items) == 1 && ptr.Deref(list.Items[0].Spec.HolderIdentity, "") == "test", err
	})
	stop()
	lease, err := leases.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != "" {
		t.Errorf("%q still holds the lease", holder)
	}
}
