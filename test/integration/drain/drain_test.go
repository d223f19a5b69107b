package drain_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func daemonSet(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "DaemonSet" }
func unmanaged(pod *corev1.Pod) { pod.OwnerReferences = nil }

func mirror(pod *corev1.Pod) {
	pod.OwnerReferences = nil
	pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
}

func emptyDir(pod *corev1.Pod) {
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
}

func TestPodsAreEvictedOnceEachAndWaitedForByWatch(t *testing.T) {
	f := setUp(t)
	for _, name := range []string{"a", "b", "c"} {
		f.pod(name, f.node)
	}
	f.pod("scratch", f.node, emptyDir)
	f.pod("static", f.node, mirror)
	finished := f.pod("finished", f.node)
	if _, err := f.client.CoreV1().Pods(f.namespace).Patch(t.Context(), finished.Name, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	if left := slices.Sorted(maps.Keys(f.pods())); !slices.Equal(left, []string{"finished", "static"}) {
		t.Errorf("pods left: %q", left)
	}
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), f.node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !node.Spec.Unschedulable || node.Annotations[api.AnnotationCordonedBy] == "" {
		t.Errorf("the node is not cordoned in our name: %v, %v", node.Spec.Unschedulable, node.Annotations)
	}
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	evictions, reads := map[string]int{}, map[string]int{}
	// Whatever the number of pods: a watch each that begins with a list, for the node and for its pods.
	wantReads := map[string]int{"watch nodes": 1, "watch pods": 1}
	for _, event := range events {
		switch {
		case event.User != f.user || event.Stage == "ResponseStarted":
		case event.Verb == "patch" && event.Resource == "nodes" && event.Code == http.StatusConflict:
			wantReads["get nodes"]++ // Who tends the node wrote it at the same moment: it is read again, once.
		case event.Subresource == "eviction":
			evictions[event.Name]++
		case event.Verb == "get" || event.Verb == "list" || event.Verb == "watch":
			reads[event.Verb+" "+event.Resource]++
		}
	}
	if want := (map[string]int{"a": 1, "b": 1, "c": 1, "scratch": 1}); !maps.Equal(evictions, want) {
		t.Errorf("evictions by pod: %v, want %v", evictions, want)
	}
	if !maps.Equal(reads, wantReads) {
		t.Errorf("reads: %v, want %v", reads, wantReads)
	}
}

func TestPodsOfADaemonSetStay(t *testing.T) {
	f := setUp(t)
	daemon := f.pod("daemon", f.node, daemonSet)
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	if f.evicted(daemon) {
		t.Error("the pod was evicted")
	}
}

// evicted reports whether an eviction of the pod was ever asked for.
func (f *fixture) evicted(pod *corev1.Pod) bool {
	f.Helper()
	events, err := shared.AuditLog()
	if err != nil {
		f.Fatal(err)
	}
	return slices.ContainsFunc(events, func(event cluster.AuditEvent) bool {
		return event.Subresource == "eviction" && event.Namespace == pod.Namespace && event.Name == pod.Name
	})
}

func TestBudgetBlocksAndThenOpens(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	labelled := func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "cart"} }
	f.pod("cart-0", f.node, labelled)
	f.budget("cart", 1)
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the progress names the pod, the budget and its numbers", func(context.Context) (bool, error) {
		return f.said("1 pod remaining: " + f.namespace + "/cart-0 (The disruption budget cart needs 1 healthy pods and has 1 currently)"), nil
	})
	if _, there := f.pods()["cart-0"]; !there {
		t.Fatal("the pod was taken against its budget")
	}
	f.pod("cart-1", elsewhere, labelled)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if left := f.pods(); len(left) != 1 || left["cart-1"] == "" {
		t.Errorf("pods left: %v", left)
	}
}

func TestNothingIsEvictedWhileAPodMustNotBe(t *testing.T) {
	f := setUp(t)
	f.pod("ordinary", f.node)
	f.pod("alone", f.node, unmanaged)
	f.pod("scratch", f.node, emptyDir)
	err := f.drain(`{"allowEmptyDirData":false}`)
	if err == nil || cleanup.IsPermanent(err) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"/alone: it has no controller that would create it again (option allowUnmanaged)", "/scratch: the data in its emptyDir volume would be lost (option allowEmptyDirData)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if left := f.pods(); len(left) != 3 {
		t.Fatalf("pods left: %v", left)
	}
	if err := f.drain(`{"allowUnmanaged":true}`); err != nil {
		t.Fatal(err)
	}
	if left := f.pods(); len(left) != 0 {
		t.Errorf("pods left: %v", left)
	}
}

func TestPodRecreatedOnAnotherNodeIsNotEvicted(t *testing.T) {
	f := setUp(t)
	// kwok deletes pods by their name: it would take the second one for the first.
	unplayed := func(node *corev1.Node) { node.Annotations = nil }
	f.node = f.createNode(f.namespace+"-here", unplayed)
	elsewhere := f.createNode(f.namespace+"-elsewhere", unplayed)
	f.newPod("db-0", f.node)
	var again *corev1.Pod
	f.before = func(request *http.Request) {
		if !strings.HasSuffix(request.URL.Path, "/eviction") || again != nil {
			return
		}
		now := int64(0)
		if err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), "db-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Error(err)
		}
		again = f.newPod("db-0", elsewhere)
	}
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	current, err := f.client.CoreV1().Pods(f.namespace).Get(t.Context(), "db-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if current.UID != again.UID || current.DeletionTimestamp != nil {
		t.Errorf("the pod on the other node was evicted")
	}
}

func TestReplacedNodeIsIgnored(t *testing.T) {
	f := setUp(t)
	f.pod("a", f.node)
	f.node = f.node.DeepCopy()
	f.node.UID = "the-one-before"
	err := f.drain("")
	if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "UID the-one-before no longer exists") {
		t.Errorf("error is %v", err)
	}
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), f.node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if node.Spec.Unschedulable || len(f.pods()) != 1 {
		t.Errorf("the other node was touched: unschedulable %v, pods %v", node.Spec.Unschedulable, f.pods())
	}
}

func TestCordonOfAnotherUserIsNotClaimed(t *testing.T) {
	f := setUp(t)
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), f.node.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), f.node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, claimed := node.Annotations[api.AnnotationCordonedBy]; claimed {
		t.Error("the cordon carries our name")
	}
}

// When a Node was cordoned is read from its managed fields. Whatever else the agent writes on
// it later must not look like another cordon.
func TestCordonHasItsOwnFieldManager(t *testing.T) {
	f := setUp(t)
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	note := []byte(`{"metadata":{"annotations":{"example.com/note":"later"}}}`)
	node, err := f.client.CoreV1().Nodes().Patch(t.Context(), f.node.Name, types.MergePatchType, note, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cordons := 0
	for _, entry := range node.ManagedFields {
		fields := string(entry.FieldsV1.Raw)
		if !strings.Contains(fields, "f:unschedulable") {
			continue
		}
		cordons++
		if strings.Contains(fields, "example.com/note") {
			t.Errorf("the cordon and what came later are both of %s: %s", entry.Manager, fields)
		}
	}
	if cordons != 1 {
		t.Errorf("%d managers have cordoned it", cordons)
	}
}

func TestCancelledDrainNamesTheRemainingPods(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the lease is lost")
	ended := make(chan error, 1)
	go func() { ended <- f.plugin("").Cleanup(ctx, f.target()) }()
	f.eventually("the drain waits", func(context.Context) (bool, error) { return f.said("1 pod remaining"), nil })
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) || !strings.Contains(err.Error(), "/cart (The disruption budget cart") {
		t.Errorf("error is %v", err)
	}
}

func TestTiersAreDrainedInOrder(t *testing.T) {
	f := setUp(t)
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	critical := func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-cluster-critical" }
	// In the order of their names they would go the other way round.
	f.pod("a-agent", f.node, func(pod *corev1.Pod) { pod.Labels[api.LabelName] = api.LabelNameValue })
	f.pod("b-driver", f.node, critical, func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Args = []string{"--csi-address=/csi/csi.sock"}
	})
	f.pod("c-dns", f.node, critical)
	f.pod("d-shop", f.node)
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"create d-shop", "delete d-shop", "create c-dns", "delete c-dns",
		"create b-driver", "delete b-driver", "create a-agent", "delete a-agent",
	}
	// The drain sees that the last pod is deleted before the API server has noted the kubelet's request.
	f.eventually("the last deletion is in the audit log", func(context.Context) (bool, error) {
		order, err := f.podRequestsSince(mark)
		if err == nil && len(order) >= len(want) && !slices.Equal(order, want) {
			t.Fatalf("order is %q, want %q", order, want)
		}
		return slices.Equal(order, want), err
	})
}

// podRequestsSince returns the evictions and deletions of the test's pods, repeated ones once.
func (f *fixture) podRequestsSince(mark cluster.AuditMark) ([]string, error) {
	events, err := shared.AuditSince(mark)
	if err != nil {
		return nil, err
	}
	var order []string
	for _, event := range events {
		// The kubelet's word that a pod has ended is its deletion.
		if event.Namespace == f.namespace && event.Resource == "pods" && (event.Subresource == "eviction" || event.Verb == "delete") {
			order = append(order, event.Verb+" "+event.Name)
		}
	}
	return slices.Compact(order), nil
}
