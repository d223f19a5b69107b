package agent_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// The test assigns the Lease to the other agent while a step runs. That step is cancelled and its
// result does not count. The other agent runs the step again by the same key.
func TestLostLeaseEndsTheRunAndTheNextLeaderResumes(t *testing.T) {
	f := setUp(t, "steps:\n- {name: before, plugin: probe, options: {do: before}}\n- {name: step, plugin: probe, dependsOn: [before], options: {do: step}}\n")
	type call struct {
		by, step string
		attempt  int
		key      string
	}
	var mutex sync.Mutex
	var calls []call
	began, stopped := make(chan string, 10), make(chan struct{})
	for _, identity := range []string{"one", "two"} {
		own := *f
		probe := func(ctx context.Context, target cleanup.Target) error {
			_, step, _ := strings.Cut(target.IdempotencyKey, "/")
			mutex.Lock()
			calls = append(calls, call{identity, step, target.Attempt, target.IdempotencyKey})
			mutex.Unlock()
			switch {
			case step == "step" && target.Attempt == 1:
				began <- identity
				<-ctx.Done() // The leadership is lost; the result comes too late.
				close(stopped)
			case step == "step": // The node stays, and its end is not what stops the first one.
				select {
				case <-stopped:
				case <-ctx.Done():
				}
			}
			return nil
		}
		own.probes = map[string]func(context.Context, cleanup.Target) error{"before": probe, "step": probe}
		options := own.options()
		options.Identity = identity
		// The Lease lasts longer than a minute. For that minute the old leader would still act as
		// leader if it did not read the holder of the Lease.
		options.Lease = leader.Timing{Duration: 2 * time.Minute, RenewDeadline: time.Minute, RetryPeriod: 100 * time.Millisecond}
		f.start(options)
	}
	node := f.protected("worker")
	f.delete(node)
	leader := <-began
	other := map[string]string{"one": "two", "two": "one"}[leader]
	f.takeLease(other, time.Minute)
	select {
	case <-stopped:
	case <-time.After(testTimeout):
		t.Fatal("the step was not cancelled")
	}
	f.awaitDeleted(node)
	mutex.Lock()
	defer mutex.Unlock()
	before, step := string(node.UID)+"/before", string(node.UID)+"/step"
	if want := []call{{leader, "before", 1, before}, {leader, "step", 1, step}, {other, "step", 2, step}}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}

// takeLease writes the Lease as a client does that does not ask.
func (f *fixture) takeLease(holder string, lasts time.Duration) {
	f.Helper()
	leases := f.client.CoordinationV1().Leases(f.namespace)
	// The leader renews all the time, so the first try may meet a conflict.
	f.eventually("the lease is taken", func(ctx context.Context) (bool, error) {
		lease, err := leases.Get(ctx, api.Agent, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = ptr.To(holder), ptr.To(int32(lasts.Seconds()))
		lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(time.Now()))
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err == nil, ignoreConflict(err)
	})
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Otherwise the alert about an unhealthy plugin would never end after its agent has lost the
// leadership.
func TestFormerLeaderReportsNoPluginHealth(t *testing.T) {
	f := setUp(t, "steps:\n- {name: inventory, plugin: http, options: {url: {secretKeyRef: {name: inventory, key: url}}}}\n")
	options := f.options()
	options.MetricsListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	f.start(options)
	tells := func(text string) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) {
			return strings.Contains(f.metrics(options.MetricsListen), text), nil
		}
	}
	f.eventually("the plugin is said to be not healthy", tells(`node_cleanup_plugin_healthy{plugin="http",step="inventory"} 0`))
	f.takeLease("thief", time.Hour)
	f.eventually("the agent does not lead", tells("node_cleanup_leader 0"))
	f.eventually("no plugin is called for", func(context.Context) (bool, error) {
		page := f.metrics(options.MetricsListen)
		return strings.Contains(page, "node_cleanup_leader 0") && !strings.Contains(page, "node_cleanup_plugin_healthy{"), nil
	})
}

// metrics reads the page of an agent, "" while there is none.
func (f *fixture) metrics(address string) string {
	f.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		f.Fatal(err)
	}
	return string(page)
}

func TestStoppingAgentReleasesTheLease(t *testing.T) {
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
