package drain_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// silentNode replaces the fixture's Node by one without a kubelet, and returns a function that
// sets its condition Ready.
func (f *fixture) silentNode() (ready func(corev1.ConditionStatus)) {
	f.Helper()
	f.node = f.createNode(f.namespace+"-silent", func(node *corev1.Node) { node.Annotations = nil })
	ready = func(status corev1.ConditionStatus) {
		f.Helper()
		patch := `{"status":{"conditions":[{"type":"Ready","status":"` + string(status) + `"}]}}`
		if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), f.node.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			f.Fatal(err)
		}
	}
	ready(corev1.ConditionTrue)
	return ready
}

func TestDrainDoesNotWaitForADeadKubelet(t *testing.T) {
	f := setUp(t)
	ready := f.silentNode()
	pod := f.newPod("db", f.node, func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](7200) })
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the drain waits for the grace period", func(context.Context) (bool, error) {
		return f.said("/db (terminating, its grace period of 2h0m0s ends at "), nil
	})
	ready(corev1.ConditionUnknown)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	current, err := f.client.CoreV1().Pods(f.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil || current.DeletionTimestamp == nil || *current.DeletionGracePeriodSeconds != 1 {
		t.Errorf("pod: %+v, %v", current.ObjectMeta, err)
	}
	if asked := f.requests(func(event cluster.AuditEvent) bool { return event.Subresource == "eviction" }); len(asked) != 2 {
		t.Errorf("%d evictions, want one more", len(asked))
	}
}

// Its controller deletes the Pods of a namespace, if nothing blocks it.
func TestPodsOfATerminatingNamespaceAreNotCalledEvicted(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	manager := shared.Component(cluster.ControllerManager)
	if err := manager.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Resume(); err != nil {
			t.Error(err)
		}
	})
	if err := f.client.CoreV1().Namespaces().Delete(t.Context(), f.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitTerminating()
	patch := `{"status":{"conditions":[{"type":"NamespaceDeletionDiscoveryFailure","status":"True","reason":"DiscoveryFailed","message":"metrics.k8s.io/v1beta1 is down"}]}}`
	if _, err := f.client.CoreV1().Namespaces().Patch(t.Context(), f.namespace, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil || len(effects) != 2 || effects[1].Action != cleanup.Wait || effects[1].Reason != "its namespace is terminating" {
		t.Errorf("effects are %v, %v", effects, err)
	}
	var log bytes.Buffer // Read when the drain has ended.
	target, plugin := f.target(), f.plugin("")
	target.Log = slog.New(slog.NewTextHandler(&log, nil))
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(t.Context(), target) }()
	f.eventually("the drain says what blocks the namespace", func(context.Context) (bool, error) {
		return f.said("1 pod remaining: " + f.namespace + "/cart (namespace " + f.namespace + " is terminating, blocked: metrics.k8s.io/v1beta1 is down)"), nil
	})
	if err := manager.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "pod evicted") || strings.Count(text, "not evicting pods: their namespace is terminating") != 1 {
		t.Errorf("the log says %s", text)
	}
}
