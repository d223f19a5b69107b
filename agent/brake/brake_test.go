package brake

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type noMetrics struct{}

func (noMetrics) CleanupsPaused(bool, bool, bool) {}
func (noMetrics) Paused(string)                   {}

func newBrake(t *testing.T, client *fake.Clientset) *Brake {
	return New(Options{
		Client: client, Namespace: "ns", Config: func() *config.Config { return &config.Config{} },
		Nodes: func() ([]*nodecache.Node, bool) { return nil, true }, Requests: NewRequests(clocktesting.NewFakeClock(started)),
		Events: record.NewFakeRecorder(100), Notifications: noMetrics{}, Metrics: noMetrics{}, Clock: clocktesting.NewFakeClock(started), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
}

func TestNoCleanupBeginsBeforeTheStateIsRead(t *testing.T) {
	status := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.StatusName, Annotations: map[string]string{api.AnnotationPause: "true"}}}
	b := newBrake(t, fake.NewClientset(status))
	for _, when := range []string{"the first leadership", "the next leadership, although this agent read it in the first"} {
		b.Forget()
		if b.Reason() == "" || b.OpenFor() != 0 {
			t.Errorf("%s: a cleanup may begin", when)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := b.Run(ctx, func() {}); err != nil {
				t.Error(err)
			}
		})
		b.Await(ctx, time.Hour)
		if reason := b.Reason(); reason != "cleanups paused by an unknown user" {
			t.Errorf("%s: a node waits because %q", when, reason)
		}
		cancel()
		group.Wait()
	}
}
