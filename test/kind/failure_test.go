package kind_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// tell logs the state of the agents, because a CI job removes its cluster at its end.
func (f *fixture) tell(ctx context.Context, t *testing.T) {
	t.Helper()
	pods, err := f.client.CoreV1().Pods(api.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("listing the agents: %v", err)
		return
	}
	for _, pod := range pods.Items {
		t.Logf("pod %s on node %q: %s %s", pod.Name, pod.Spec.NodeName, pod.Status.Phase, pod.Status.Message)
		for _, container := range pod.Status.ContainerStatuses {
			t.Logf("  container %s: ready %v, %d restarts, now %+v, before %+v", container.Name, container.Ready, container.RestartCount, container.State, container.LastTerminationState)
		}
		said, err := f.client.CoreV1().Pods(api.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: new(int64(50))}).DoRaw(ctx)
		t.Logf("  its log, %v:\n%s", err, said)
	}
	events, err := f.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		t.Logf("listing the warnings: %v", err)
		return
	}
	for _, event := range events.Items {
		t.Logf("%s %s/%s: %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Namespace, event.InvolvedObject.Name, event.Reason, event.Message)
	}
}
