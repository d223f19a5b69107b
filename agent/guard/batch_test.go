package guard

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// The other replicas write the ledger first each time: the guard waits longer after each
// conflict, and does not list Nodes as fast as it can.
func TestConflictsInTheLedgerAreRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "v"}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.GuardName, ResourceVersion: "1"}},
		)
		conflicts, lists := 0, 0
		client.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			conflicts++
			return true, nil, apierrors.NewConflict(corev1.Resource("configmaps"), api.GuardName, nil)
		})
		client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			lists++
			return false, nil, nil
		})
		settings := &config.Config{NodeSelector: labels.Everything(), Guard: config.DeleteGuard{Enabled: true, LastSchedulable: config.Refuse}}
		guard := New(Options{
			Client: client, Namespace: "ns", Config: func() *config.Config { return settings },
			Events: record.NewFakeRecorder(1), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		verdict := guard.Evaluate(ctx, Request{Name: "worker", UID: "u", User: "ed"})
		if verdict.Allowed || !verdict.Busy {
			t.Errorf("the answer is %+v", verdict)
		}
		if conflicts < 5 || conflicts > 12 || lists != conflicts {
			t.Errorf("in 1.5 s the guard met %d conflicts and listed nodes %d times", conflicts, lists)
		}
		synctest.Wait()
	})
}

// A Node is read late because of other requests: then onReadError does not apply, or a flood of
// reviews would have every deletion allowed.
func TestReadDelayedByOtherRequestsIsDenied(t *testing.T) {
	for name, test := range map[string]struct {
		full bool // Other requests take the time until shortly before the end.
		read time.Duration
		busy bool
	}{
		"single read during an outage": {false, 2 * time.Second, false},
		"queued behind other reads":    {true, 200 * time.Millisecond, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				<-time.After(test.read)
				return true, nil, context.DeadlineExceeded
			})
			settings := &config.Config{NodeSelector: labels.Everything(), Guard: config.DeleteGuard{Enabled: true, OnReadError: config.Allow}}
			guard := New(Options{
				Client: client, Namespace: "ns", Config: func() *config.Config { return settings },
				Events: record.NewFakeRecorder(1), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
			})
			if test.full {
				for range maxReads {
					release, _, err := guard.limits.acquire(t.Context(), false)
					if err != nil {
						t.Fatal(err)
					}
					time.AfterFunc(1400*time.Millisecond, release)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if verdict := guard.Evaluate(ctx, Request{Name: "worker", UID: "u", User: "ed"}); verdict.Busy != test.busy || verdict.Allowed == test.busy {
				t.Errorf("%s: the answer is %+v", name, verdict)
			}
		})
	}
}
