package guard_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestProtectedNodeIsDeniedWithoutConfig(t *testing.T) {
	f := setUp(t, "")
	precious := f.node("precious", annotated(api.AnnotationProtect, "true"))
	editor := f.as("ed", "editors")
	f.refused(f.delete(editor, precious), precious, "it is protected by the annotation nodecleanup.io/protect", "kubectl annotate node precious nodecleanup.io/protect-")
	f.refused(f.delete(f.admin, precious), precious)
	f.awaitEvent(precious, "DeletionRefused", "The delete guard denied the node deletion requested by ed (unverified): ", "nodecleanup.io/protect")
	f.eventually("the metrics tell", func(ctx context.Context) (bool, error) {
		return strings.Contains(f.scrape(ctx), `node_cleanup_webhook_requests_total{operation="DELETE",result="refused"} `), nil
	})
	if err := f.annotate(editor, precious, api.AnnotationProtect, ""); err != nil {
		t.Fatal(err)
	}
	f.allowed(f.delete(editor, precious), precious)
	asked := f.counted()
	if !strings.Contains(asked, `result="allowed"`) {
		t.Errorf("what was allowed is not counted: %s", asked)
	}
	// Once more, as controllers do: the guard is not asked about a Node that terminates.
	f.allowed(f.delete(editor, precious), precious)
	if again := f.counted(); again != asked {
		t.Errorf("about a node that terminates the guard was asked: %s, before %s", again, asked)
	}
}

// counted returns the metric of the guard's reviews.
func (f *fixture) counted() string {
	f.Helper()
	var lines []string
	for line := range strings.Lines(f.scrape(f.Context())) {
		if strings.HasPrefix(line, `node_cleanup_webhook_requests_total{operation="DELETE"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, ", ")
}

func (f *fixture) scrape(ctx context.Context) string {
	f.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.metrics+"/metrics", nil)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.Fatal(err)
	}
	return string(body)
}

func TestDeleteCollectionIsReviewedPerNode(t *testing.T) {
	f := setUp(t, "")
	first := f.node("a-first", labelled("pool", "old"))
	precious := f.node("b-precious", labelled("pool", "old"), annotated(api.AnnotationProtect, "true"))
	other := f.node("c-other")
	err := f.as("ed", "editors").CoreV1().Nodes().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "pool=old"})
	f.refused(err, precious, "nodecleanup.io/protect")
	f.allowed(nil, first)
	if f.read(other).DeletionTimestamp != nil {
		t.Error("a node was deleted that was not selected")
	}
}

func TestCriticalPodsKeepTheirNode(t *testing.T) {
	f := setUp(t, "guard: {criticalPods: [{namespaces: [default], selector: {matchLabels: {tier: critical}}}, {selector: {matchLabels: {keep: always}}}]}\n")
	busy, quiet := f.node("busy"), f.node("quiet")
	pod := func(namespace, name string, change func(*corev1.Pod)) {
		t.Helper()
		made := cluster.MakePod(namespace, name, "busy")
		change(made)
		phase := made.Status.Phase
		made, err := f.admin.CoreV1().Pods(namespace).Create(t.Context(), made, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.dropPod(namespace, name); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
		if phase == "" {
			return
		}
		made.Status.Phase = phase
		if _, err := f.admin.CoreV1().Pods(namespace).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	critical := func(change func(*corev1.Pod)) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Labels["tier"] = "critical"; change(pod) }
	}
	yes := true
	pod("default", "plain", func(*corev1.Pod) {})
	pod("kube-system", "elsewhere", critical(func(*corev1.Pod) {}))
	pod("default", "finished", critical(func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }))
	pod("default", "failed", critical(func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }))
	pod("default", "of-daemonset", critical(func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "d", UID: "1", Controller: &yes}}
	}))
	if err := f.delete(f.admin, busy, metav1.DryRunAll); err != nil {
		t.Fatalf("refused though no critical pod runs: %v", err)
	}
	pod("default", "db", critical(func(*corev1.Pod) {}))
	pod("kube-system", "queue", func(pod *corev1.Pod) { pod.Labels["keep"] = "always" })
	f.refused(f.delete(f.admin, busy), busy, "critical pods run on it: default/db, kube-system/queue (", "kubectl nodecleanup cleanup busy --wait")
	f.allowed(f.delete(f.admin, quiet), quiet)
	if err := f.dropPod("default", "db"); err != nil {
		t.Fatal(err)
	}
	f.refused(f.delete(f.admin, busy), busy, "critical pods run on it: kube-system/queue (")
	if err := f.dropPod("kube-system", "queue"); err != nil {
		t.Fatal(err)
	}
	f.allowed(f.delete(f.admin, busy), busy)
}

func (f *fixture) dropPod(namespace, name string) error {
	return f.admin.CoreV1().Pods(namespace).Delete(context.WithoutCancel(f.Context()), name, *metav1.NewDeleteOptions(0))
}

func TestControlPlaneNodesCanBeGuarded(t *testing.T) {
	f := setUp(t, "guard: {controlPlane: refuse}\n")
	master, worker := f.node("master", labelled("node-role.kubernetes.io/control-plane", "")), f.node("worker")
	f.refused(f.delete(f.admin, master), master, "it is a control-plane node, by its label node-role.kubernetes.io/control-plane")
	f.allowed(f.delete(f.admin, worker), worker)
}

func TestLastSchedulableNodeIsGuarded(t *testing.T) {
	f := setUp(t, "guard: {lastSchedulable: refuse}\n")
	first, last := f.node("first"), f.node("last")
	tainted := f.node("tainted")
	f.patch(tainted, `{"spec":{"taints":[{"key":"gpu","effect":"NoSchedule"}]}}`)
	f.patch(f.node("cordoned"), `{"spec":{"unschedulable":true}}`)

	f.allowed(f.delete(f.admin, first), first)
	f.refused(f.delete(f.admin, last), last, "no other node is schedulable")
	f.patch(last, `{"spec":{"unschedulable":true}}`) // Which is how an orderly deletion begins.
	f.refused(f.delete(f.admin, last), last, "no other node is schedulable")
	f.allowed(f.delete(f.admin, tainted), tainted) // It took none.
	added := f.node("added")
	f.allowed(f.delete(f.admin, last), last)
	f.refused(f.delete(f.admin, added), added, "no other node is schedulable")
}

func (f *fixture) patch(node *corev1.Node, patch string) {
	f.Helper()
	if _, err := f.admin.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

func TestMaxTerminatingLimitsDeletions(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 40%}\n")
	nodes := []*corev1.Node{f.node("a"), f.node("b"), f.node("c"), f.node("d"), f.node("e")}
	f.allowed(f.delete(f.admin, nodes[0]), nodes[0])
	f.allowed(f.delete(f.admin, nodes[1]), nodes[1])
	f.refused(f.delete(f.admin, nodes[2]), nodes[2], "2 other nodes are terminating, and guard.maxTerminating is 40% of 5, which is 2: a, b (")
	f.allowed(f.delete(f.admin, nodes[1]), nodes[1]) // It terminates already.
	f.free(nodes[0])
	f.refused(f.delete(f.admin, nodes[2]), nodes[2], "1 other node is terminating, and guard.maxTerminating is 40% of 4, which is 1: b (")
	f.free(nodes[1])
	// Deleted Nodes are not counted, though it was allowed only a moment ago.
	f.allowed(f.delete(f.admin, nodes[2]), nodes[2])
}

func TestUnselectedNodesAreProtectedByAnnotation(t *testing.T) {
	f := setUp(t, "nodeSelector: {matchLabels: {pool: ours}}\nguard: {controlPlane: refuse}\n")
	master := func(name string, change ...func(*corev1.Node)) *corev1.Node {
		return f.node(name, append(change, labelled("node-role.kubernetes.io/control-plane", ""))...)
	}
	ours, theirs, precious := master("ours", labelled("pool", "ours")), master("theirs"), master("precious", annotated(api.AnnotationProtect, "true"))
	f.refused(f.delete(f.admin, ours), ours, "control-plane")
	f.refused(f.delete(f.admin, precious), precious, "nodecleanup.io/protect")
	f.allowed(f.delete(f.admin, theirs), theirs)
}

func TestEveryBlockerIsNamed(t *testing.T) {
	f := setUp(t, "guard: {controlPlane: refuse, lastSchedulable: refuse, maxTerminating: 1}\n")
	deleted := f.node("gone")
	only := f.node("only", annotated(api.AnnotationProtect, "true"), labelled("node-role.kubernetes.io/control-plane", ""))
	f.allowed(f.delete(f.admin, deleted), deleted)
	f.refused(f.delete(f.admin, only), only, "nodecleanup.io/protect (", "; it is a control-plane node", "; no other node is schedulable", "; 1 other node is terminating, and guard.maxTerminating is 1: gone (")
}

func TestDisabledGuardAllowsDeletions(t *testing.T) {
	f := setUp(t, "")
	precious := f.node("precious", annotated(api.AnnotationProtect, "true"))
	f.refused(f.delete(f.admin, precious), precious)
	patch := []byte(`{"data":{"config.yaml":"apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: log, plugin: logger}]\nguard: {enabled: false}\n"}}`)
	if _, err := f.admin.CoreV1().ConfigMaps(f.namespace).Patch(t.Context(), api.ConfigName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the config takes effect", func(context.Context) (bool, error) { return f.delete(f.admin, precious, metav1.DryRunAll) == nil, nil })
	f.allowed(f.delete(f.admin, precious), precious)
}
