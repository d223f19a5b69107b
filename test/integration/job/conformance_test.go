package job_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestConformance(t *testing.T) {
	f := setUp(t)
	accounts := f.client.CoreV1().ServiceAccounts(f.namespace)
	createAccount := func() {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}}
		if _, err := accounts.Create(context.WithoutCancel(t.Context()), account, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	createAccount()
	options := f.options(`, "serviceAccountName": "runner"`)
	var broken atomic.Bool
	waiting := make(chan struct{})
	// The kubelet: it ends each Pod, except that of the Node on which it hangs.
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hangs := false
		_ = wait.PollUntilContextCancel(ctx, pollPeriod, true, func(ctx context.Context) (bool, error) {
			pods, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, nil // The test has ended.
			}
			for i := range pods.Items {
				pod := &pods.Items[i]
				switch {
				case pod.Spec.NodeName == "" || pod.Status.Phase != corev1.PodPending:
				case !strings.HasSuffix(pod.Annotations["nodecleanup.io/node"], "conformance-hang"):
					code := int32(0)
					if broken.Load() {
						code = 1
					}
					f.ends(pod, code, "number=1")
				case !hangs:
					hangs = true
					close(waiting)
				}
			}
			return false, nil
		})
	}()
	defer func() {
		stop()
		<-ended
	}()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(options),
		Options:    options,
		Node: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.namespace + "-" + name, UID: types.UID("uid-of-" + f.namespace + name)}}
		},
		Effects: func(*testing.T) int { return len(f.jobs()) },
		Hang:    func(*testing.T, *corev1.Node) <-chan struct{} { return waiting },
		Unhealthy: func(t *testing.T) {
			if err := accounts.Delete(t.Context(), "runner", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(createAccount)
		},
		Break: func(*testing.T) { broken.Store(true) },
	})
}
