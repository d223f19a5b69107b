package drain_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestConformance(t *testing.T) {
	f := setUp(t)
	full := func(name string) string { return f.namespace + "-" + name }
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(),
		Node: func(_ *testing.T, name string) *corev1.Node {
			node := f.createNode(full(name))
			f.pod(name, node)
			return node
		},
		Effects: func(*testing.T) int {
			return len(f.requests(func(event cluster.AuditEvent) bool { return writes(event) && event.Code < http.StatusBadRequest }))
		},
		Hang: func(t *testing.T, node *corev1.Node) <-chan struct{} {
			app := node.Name[len(f.namespace)+1:]
			f.budget(app, 1)
			waiting := make(chan struct{})
			go func() {
				defer close(waiting)
				err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, testTimeout, true, func(context.Context) (bool, error) {
					return len(f.requests(func(event cluster.AuditEvent) bool {
						return event.Name == app && event.Code == http.StatusTooManyRequests
					})) > 0, nil
				})
				if err != nil {
					t.Errorf("waiting until the drain waits: %v", err)
				}
			}()
			return waiting
		},
		Undo: func(_ *testing.T, node *corev1.Node) { f.pod("late", node) },
		Break: func(*testing.T) {
			node := cluster.MakeNode(full("conformance-broken"), nil)
			f.pod("alone", node, unmanaged)
		},
	})
}
