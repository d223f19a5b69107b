package kind_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// fake is the name of a Node without a machine; its taint keeps others' Pods away.
	fake      = "nodecleanup-e2e-fake"
	fakeTaint = "example.com/fake"
)

// makeNode makes a Node as its kubelet would.
func (f *fixture) makeNode(t *testing.T, name string) *corev1.Node {
	t.Helper()
	node := cluster.MakeNode(name, nil)
	node.Spec.Taints = []corev1.Taint{{Key: fakeTaint, Effect: corev1.TaintEffectNoSchedule}}
	// A cloud controller would delete a Node without a machine.
	node.Spec.ProviderID = ""
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	made, err := f.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// playKubelet reports each Pod on a Node as running, and removes it when it is deleted, until stop
// is called.
func (f *fixture) playKubelet(t *testing.T, node string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	pods, err := f.client.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for event := range pods.ResultChan() {
			pod, is := event.Object.(*corev1.Pod)
			if !is || event.Type == watch.Deleted {
				continue
			}
			if err := f.play(ctx, pod); err != nil && ctx.Err() == nil {
				t.Errorf("playing the kubelet for pod %s/%s: %v", pod.Namespace, pod.Name, err)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (f *fixture) play(ctx context.Context, pod *corev1.Pod) error {
	pods := f.client.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		options := metav1.NewDeleteOptions(0)
		options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
		if err := pods.Delete(ctx, pod.Name, *options); !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	}
	if pod.Status.Phase == corev1.PodRunning {
		return nil
	}
	running := pod.DeepCopy()
	running.Status.Phase = corev1.PodRunning
	running.Status.Conditions = append(running.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	// Another client may have written in between; then the next event brings the Pod again.
	if _, err := pods.UpdateStatus(ctx, running, metav1.UpdateOptions{}); !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}
