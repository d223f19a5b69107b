package drain_test

import (
	"context"
	"errors"
	"maps"
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
	for _, event := range events {
		switch {
		case event.User != f.user || event.Stage == "ResponseStarted":
		case event.Subresource == "eviction":
			evictions[event.Name]++
		case event.Verb == "get" || event.Verb == "list" || event.Verb == "watch":
			reads[event.Verb+" "+event.Resource]++
		}
	}
	if want := (map[string]int{"a": 1, "b": 1, "c": 1, "scratch": 1}); !maps.Equal(evictions, want) {
		t.Errorf("evictions by pod: %v, want %v", evictions, want)
	}
	if reads["get nodes"] != 1 || reads["get pods"] > 0 || reads["list pods"] > 1 || reads["watch pods"] > 2 {
		t.Errorf("reads: %v", reads)
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

func TestABudgetBlocksAndThenOpens(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	labelled := func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "cart"} }
	f.pod("cart-0", f.node, labelled)
	f.budget("cart", 1)
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the progress names the pod, the budget and its numbers", func(context.Context) (bool, error) {
		return f.said("1 pod left: " + f.namespace + "/cart-0 (The disruption budget cart needs 1 healthy pods and has 1 currently)"), nil
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
	for _, want := range []string{"/alone: no controller would make it again (option allowUnmanaged)", "/scratch: the data in its emptyDir volume would be lost (option allowEmptyDirData)"} {
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

func TestAPodThatCameBackElsewhereIsNotEvictedThere(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	f.pod("db-0", f.node)
	var again *corev1.Pod
	f.beforeEviction = func() {
		f.beforeEviction = nil
		now := int64(0)
		if err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), "db-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Error(err)
		}
		again = f.pod("db-0", elsewhere)
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

func TestANodeThatIsAnotherByNowIsLeftAlone(t *testing.T) {
	f := setUp(t)
	f.pod("a", f.node)
	f.node = f.node.DeepCopy()
	f.node.UID = "the-one-before"
	err := f.drain("")
	if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "UID the-one-before is gone") {
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

func TestSomebodyElsesCordonIsNotClaimed(t *testing.T) {
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

func TestADrainThatIsCutOffNamesWhatIsLeft(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the lease is lost")
	ended := make(chan error, 1)
	go func() { ended <- f.plugin("").Cleanup(ctx, f.target()) }()
	f.eventually("the drain waits", func(context.Context) (bool, error) { return f.said("1 pod left"), nil })
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) || !strings.Contains(err.Error(), "/cart (The disruption budget cart") {
		t.Errorf("error is %v", err)
	}
}

func TestCriticalPodsGoAfterTheOthers(t *testing.T) {
	f := setUp(t)
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	labelled := func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "cart"} }
	f.pod("cart-0", f.node, labelled)
	f.budget("cart", 1)
	dns := f.pod("dns", f.node, func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-cluster-critical" })
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the drain waits for the budget", func(context.Context) (bool, error) { return f.said("cart needs 1"), nil })
	if f.evicted(dns) {
		t.Error("the critical pod was evicted while an ordinary one was left")
	}
	f.pod("cart-1", elsewhere, labelled)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !f.evicted(dns) {
		t.Error("the critical pod was never evicted")
	}
}

func TestPreviewTellsVerdictsAndBudgetsAndChangesNothing(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 1)
	f.pod("web", f.node)
	f.pod("daemon", f.node, daemonSet)
	f.pod("alone", f.node, unmanaged)
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	said, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cordon",
		"refuse " + f.namespace + "/alone (no controller would make it again (option allowUnmanaged))",
		"evict " + f.namespace + "/cart (not now: The disruption budget cart needs 1 healthy pods and has 1 currently)",
		"evict " + f.namespace + "/web",
	}
	said = slices.DeleteFunc(said, func(line string) bool { return strings.HasSuffix(line, "/daemon (DaemonSet)") })
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if left := f.pods(); left["web"] == "" || left["cart"] == "" || left["alone"] == "" {
		t.Errorf("pods left: %v", left)
	}
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if event.User == f.user && event.Verb != "list" && !strings.Contains(event.URI, "dryRun=All") {
			t.Errorf("a preview sent %s %s", event.Verb, event.URI)
		}
	}
}
