package drain_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func labelled(app string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": app} }
}

// blocked begins a drain that a budget blocks. It returns a function that opens the budget, and a
// channel with the result of the drain.
func (f *fixture) blocked(options string) (open func(), ended <-chan error) {
	f.Helper()
	elsewhere := f.createNode(f.namespace + "-elsewhere")
	f.pod("cart-0", f.node, labelled("cart"))
	f.budget("cart", 1)
	end := make(chan error, 1)
	go func() { end <- f.drain(options) }()
	f.eventually("the drain waits for the budget", func(context.Context) (bool, error) { return f.said("/cart-0 (The disruption budget cart"), nil })
	return func() { f.pod("cart-1", elsewhere, labelled("cart")) }, end
}

func (f *fixture) deleted(pod string) {
	f.Helper()
	f.eventually("pod "+pod+" is deleted", func(context.Context) (bool, error) {
		_, there := f.pods()[pod]
		return !there, nil
	})
}

func TestNodeReplacedDuringItsDrainIsIgnored(t *testing.T) {
	f := setUp(t)
	_, ended := f.blocked("")
	if err := f.client.CoreV1().Nodes().Delete(t.Context(), f.node.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := f.createNode(f.node.Name)
	if err := <-ended; err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "no longer exists") {
		t.Errorf("error is %v", err)
	}
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), f.node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if node.UID != again.UID || node.Spec.Unschedulable {
		t.Errorf("the new node was touched: unschedulable %v", node.Spec.Unschedulable)
	}
}

func TestNodeReplacedBeforeItsCordonIsIgnored(t *testing.T) {
	f := setUp(t)
	pod := f.pod("a", f.node)
	replaced := false
	f.before = func(request *http.Request) {
		if request.Method != http.MethodPatch || replaced {
			return
		}
		replaced = true
		if err := f.client.CoreV1().Nodes().Delete(t.Context(), f.node.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		f.createNode(f.node.Name)
	}
	if err := f.drain(""); err == nil || !strings.Contains(err.Error(), "cordoning node") {
		t.Errorf("error is %v", err)
	}
	node, err := f.client.CoreV1().Nodes().Get(t.Context(), f.node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if node.Spec.Unschedulable || f.evicted(pod) {
		t.Errorf("the new node was touched: unschedulable %v, its pod evicted %v", node.Spec.Unschedulable, f.evicted(pod))
	}
}

func TestDrainDoesNotWaitForASilentKubelet(t *testing.T) {
	f := setUp(t)
	status := f.silentNode()
	pod := f.newPod("stays", f.node)
	ended := make(chan error, 1)
	go func() { ended <- f.drain(`{"gracePeriodSeconds":1}`) }()
	f.eventually("the drain waits", func(context.Context) (bool, error) { return f.said("1 pod remaining"), nil })
	status(corev1.ConditionUnknown)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	current, err := f.client.CoreV1().Pods(f.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil || current.DeletionTimestamp == nil || time.Now().Before(current.DeletionTimestamp.Time) {
		t.Errorf("the drain ended before the grace period had: %v, %v", current.DeletionTimestamp, err)
	}
}

func TestPodRecreatedDespiteTheCordonIsNotEvicted(t *testing.T) {
	f := setUp(t)
	tolerant := func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		pod.Spec.Affinity = cluster.ForNode(f.node.Name)
	}
	f.pod("portworx-0", f.node, tolerant)
	open, ended := f.blocked("")
	f.deleted("portworx-0")
	back := f.newPod("portworx-1", f.node, tolerant)
	f.newPod("bound-late", f.node)
	f.deleted("bound-late")
	open()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if f.evicted(back) {
		t.Error("the pod was evicted again")
	}
}

func TestDrainSurvivesTheAPIServer(t *testing.T) {
	f := setUp(t)
	open, ended := f.blocked("")
	server := shared.Component(cluster.APIServer)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	f.eventually("the drain says that it cannot reach the API server", func(context.Context) (bool, error) {
		return f.said("connection refused"), nil
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Their watches reconnect only after a backoff that grew during the outage: up to half a
	// minute, for which this test and later ones would wait.
	for _, follower := range []string{cluster.ControllerManager, cluster.Kwok} {
		if err := shared.Component(follower).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	open()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if left := f.pods(); len(left) != 1 || left["cart-1"] == "" {
		t.Errorf("pods left: %v", left)
	}
}

func TestBudgetsAreRespectedForALimitedTime(t *testing.T) {
	f := setUp(t)
	_, ended := f.blocked(`{"forceAfter":"3s"}`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if left := f.pods(); len(left) != 0 {
		t.Errorf("pods left: %v", left)
	}
}

// awaitTerminating waits until the API server takes nothing more into the namespace.
func (f *fixture) awaitTerminating() {
	f.Helper()
	late := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}
	if err := wait.PollUntilContextTimeout(f.Context(), 20*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(ctx, late, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), nil
	}); err != nil {
		f.Errorf("waiting until nothing more is taken into the namespace: %v", err)
	}
}

func TestDrainWaitsForPodsOfATerminatingNamespace(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	var once sync.Once
	f.before = func(request *http.Request) {
		if !strings.HasSuffix(request.URL.Path, "/eviction") {
			return
		}
		once.Do(func() {
			if err := f.client.CoreV1().Namespaces().Delete(t.Context(), f.namespace, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			f.awaitTerminating()
		})
	}
	if err := f.drain(""); err != nil {
		t.Fatal(err)
	}
	refused := f.requests(func(event cluster.AuditEvent) bool {
		return event.Subresource == "eviction" && event.Code == http.StatusForbidden
	})
	if len(refused) == 0 {
		t.Error("no eviction was refused")
	}
	if left := f.pods(); len(left) != 0 {
		t.Errorf("pods left: %v", left)
	}
}

func TestPodSelectedByTwoBudgetsIsNamed(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 0)
	f.budgetFor("cart-too", "cart", 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.plugin("").Cleanup(ctx, f.target()) }()
	f.eventually("the progress says why", func(context.Context) (bool, error) {
		return f.said("1 pod remaining: " + f.namespace + "/cart (more than one budget selects it"), nil
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("the drain was done")
	}
}

func TestFinalizerOfAPodIsNamed(t *testing.T) {
	f := setUp(t)
	f.pod("held", f.node, func(pod *corev1.Pod) { pod.Finalizers = []string{"example.com/backup"} })
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the progress names the finalizer", func(context.Context) (bool, error) {
		return f.said("/held (terminating, blocked by finalizer example.com/backup)"), nil
	})
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil || !slices.ContainsFunc(effects, func(effect cleanup.Effect) bool {
		return effect.Action == cleanup.Wait && effect.Blocked != nil && effect.Blocked.Message == "terminating, blocked by finalizer example.com/backup"
	}) {
		t.Errorf("the preview has %+v, %v", effects, err)
	}
	if _, err := f.client.CoreV1().Pods(f.namespace).Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestMissingRightIsNamedAtOnce(t *testing.T) {
	f := setUp(t)
	f.pod("a", f.node)
	plugin, faults := drain.Descriptor(kubernetes.NewForConfigOrDie(shared.RESTConfigFor(f.user)), clock.RealClock{}, nil).Bind(nil)
	if faults != nil {
		t.Fatal(faults)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	err := plugin.Cleanup(ctx, f.target())
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), `cannot list resource "nodes"`) {
		t.Errorf("error is %v", err)
	}
	if left := f.pods(); left["a"] == "" {
		t.Errorf("pods left: %v", left)
	}
}
