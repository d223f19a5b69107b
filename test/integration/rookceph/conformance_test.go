package rookceph_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// TestConformance does not run the script: each Job ends as the test wants.
func TestConformance(t *testing.T) {
	f := newFixture(t, &ceph{T: t})
	var broken atomic.Bool
	var ids atomic.Int32
	waiting := make(chan struct{})
	f.outcome = func(ctx context.Context, pod *corev1.Pod) (code int32, message string) {
		if strings.HasSuffix(pod.Annotations["nodecleanup.io/node"], "conformance-hang") {
			close(waiting)
			<-ctx.Done()
		}
		if broken.Load() {
			return 1, ""
		}
		return 0, ""
	}
	f.play(f.runPods)
	accounts := f.client.CoreV1().ServiceAccounts(f.namespace)
	options := strings.TrimSuffix(f.options(), "}") + `, "serviceAccountName": "ceph"}`
	createAccount := func() {
		_, err := accounts.Create(context.WithoutCancel(t.Context()), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "ceph"}}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
		}
	}
	createAccount()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(options),
		Options:    options,
		Node: func(_ *testing.T, name string) *corev1.Node {
			f.deploymentOn(name, int(ids.Add(1)), string(uuid.NewUUID()))
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{corev1.LabelHostname: name}}}
		},
		Effects: func(t *testing.T) int {
			jobs, err := f.client.BatchV1().Jobs(f.namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(jobs.Items)
		},
		Hang: func(*testing.T, *corev1.Node) <-chan struct{} { return waiting },
		Unhealthy: func(t *testing.T) {
			if err := accounts.Delete(t.Context(), "ceph", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(createAccount)
		},
		Break: func(t *testing.T) {
			broken.Store(true)
			t.Cleanup(func() { broken.Store(false) })
		},
		Undo: func(t *testing.T, node *corev1.Node) { // Rook finds an OSD on a disk of the Node.
			f.deploymentOn(node.Name, int(ids.Add(1)), string(uuid.NewUUID()))
		},
	})
}
