package portworx_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestConformance(t *testing.T) {
	f := setUp(t)
	f.three()
	waiting := make(chan struct{})
	f.outcome = func(ctx context.Context, pod *corev1.Pod) (int32, string) {
		if strings.HasSuffix(pod.Annotations["nodecleanup.io/node"], "conformance-hang") {
			close(waiting)
			<-ctx.Done()
		}
		return f.pxctl(ctx, pod)
	}
	answer := func(status int) func(*testing.T) {
		return func(t *testing.T) {
			f.set(func() { f.status = status })
			t.Cleanup(func() { f.set(func() { f.status = 0 }) })
		}
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(),
		Options:    f.options(),
		Node: func(_ *testing.T, name string) *corev1.Node {
			return f.node(name)
		},
		Effects:   func(*testing.T) (removed int) { f.set(func() { removed = len(f.removed) }); return removed },
		Hang:      func(*testing.T, *corev1.Node) <-chan struct{} { return waiting },
		Unhealthy: answer(http.StatusUnauthorized),
		Refuse:    answer(http.StatusForbidden),
		Throttle: func(t *testing.T) time.Duration {
			answer(http.StatusTooManyRequests)(t)
			return 7 * time.Second
		},
		Undo: func(_ *testing.T, node *corev1.Node) { // Portworx runs on the Node again.
			f.set(func() { f.nodes["again-"+node.Name] = &pxNode{name: node.Name, status: "STATUS_OFFLINE"} })
		},
		Canary: "canary",
	})
}
