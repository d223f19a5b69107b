package soak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// action is something that a user does or that breaks. It returns errNothing if there is no object
// for it.
type action struct {
	name   string
	weight float64
	do     func(*world, context.Context) error
}

var errNothing = errors.New("there is no object for the action")

// actions are actions of users and controllers, outages are faults of the cluster.
func actions() []action {
	return []action{
		{"delete a node", 20, (*world).deleteNode},
		{"uncordon as a user without the right", 4, (*world).uncordonAsEditor},
		{"uncordon as a user with the right", 4, (*world).uncordonAsOperator},
		{"request a cleanup", 6, (*world).requestCleanup},
		{"withdraw a request", 4, (*world).withdraw},
		{"retry", 3, (*world).retry},
		{"bypass", 1, (*world).bypass},
		{"remove the finalizer by hand", 0.7, (*world).removeFinalizer},
		{"delete a run record", 0.5, (*world).deleteRecord},
		{"reboot a host", 0.5, (*world).reboot},
		{"create an unmanaged pod", 5, (*world).createPod},
		{"bind a pod past the scheduler", 4, (*world).bindPod},
		{"delete a pod", 3, (*world).deletePod},
		{"outage: close a budget", 2, (*world).closeBudget},
		{"outage: inventory", 0.7, (*world).stopInventory},
		{"outage: attacher", 0.5, (*world).stopAttacher},
		{"outage: webhook of the agents", 0.7, (*world).cutWebhook},
		{"outage: failing webhook on nodes", 0.6, (*world).breakNodes},
		{"outage: failing webhook on evictions", 0.6, (*world).breakEvictions},
		{"outage: agent killed", 1.5, (*world).killAgent},
		{"outage: agent suspended", 0.8, (*world).suspendAgent},
		{"outage: agent partitioned", 0.8, (*world).partitionAgent},
		{"restart the API server", 0.15, (*world).restartAPIServer},
	}
}

// act does one action, drawn by weight.
func (w *world) act(ctx context.Context) {
	all := actions()
	total := 0.0
	for _, each := range all {
		total += each.weight
	}
	draw := w.random.Float64() * total
	for _, each := range all {
		if draw -= each.weight; draw >= 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := each.do(w, ctx); !errors.Is(err, errNothing) {
			w.counted.add(each.name + ": " + quote(err))
		}
		return
	}
}

// keepNodes creates the nodes that are missing, a few at a time.
func (w *world) keepNodes(ctx context.Context) {
	for range min(5, *nodeCount-len(w.nodes(live))) {
		// Half of the nodes reuse an earlier name, as a reinstalled host does.
		w.created++
		number := w.created
		if w.random.IntN(2) == 0 {
			number = w.random.IntN(w.created) + 1
		}
		node := cluster.MakeNode(fmt.Sprintf("node-%d", number), map[string]string{logged: fmt.Sprint(w.random.IntN(2) == 0)})
		node.Status.NodeInfo.BootID = "first"
		if w.random.IntN(10) == 0 {
			node.Finalizers = []string{otherFinalizer}
		}
		if _, err := w.admin.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			w.counted.add("create a node: " + quote(err))
		}
	}
}

// otherFinalizer is one of another controller, which removes it after the agent's was removed.
const otherFinalizer = "example.com/other"

// removeOtherFinalizers is that other controller.
func (w *world) removeOtherFinalizers(ctx context.Context) {
	for _, node := range w.nodes(terminating, func(node *corev1.Node) bool { return !held(node) && len(node.Finalizers) > 0 }) {
		if _, err := merge(ctx, w.admin, node, `{"metadata":{"finalizers":null}}`); err != nil {
			w.counted.add("remove another finalizer: " + quote(err))
		}
	}
}

func (w *world) deleteNode(ctx context.Context) error {
	if len(w.nodes(terminating)) > *nodeCount/3 {
		return errNothing
	}
	node := pick(w.random, w.nodes(live, held))
	if node == nil {
		return errNothing
	}
	return w.admin.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &node.UID}})
}

// uncordon fails unless the node is cordoned.
func uncordon(ctx context.Context, client kubernetes.Interface, node *corev1.Node) (*corev1.Node, error) {
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": node.UID},
		{"op": "test", "path": "/spec/unschedulable", "value": true},
		{"op": "remove", "path": "/spec/unschedulable"},
	})
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Nodes().Patch(ctx, node.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
}

func (w *world) uncordonAsEditor(ctx context.Context) error {
	node := pick(w.random, w.nodes(cordoned))
	if node == nil {
		return errNothing
	}
	after, err := uncordon(ctx, w.editor, node)
	if err == nil && terminating(after) && held(after) {
		w.Errorf("node %s (%s) terminates, and a user without the right has uncordoned it", after.Name, after.UID)
	}
	return err
}

func (w *world) uncordonAsOperator(ctx context.Context) error {
	node := pick(w.random, w.nodes(cordoned))
	if node == nil {
		return errNothing
	}
	_, err := uncordon(ctx, w.operator, node)
	return err
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

func (w *world) requestCleanup(ctx context.Context) error {
	node := pick(w.random, w.nodes(live, held, func(node *corev1.Node) bool { return !requested(node) }))
	if node == nil || len(w.nodes(live, requested)) > *nodeCount/8 {
		return errNothing
	}
	return w.annotate(ctx, node, fmt.Sprintf("%q:%q,%q:%q", api.AnnotationCleanupRequestedAt, now(), api.AnnotationCleanupRequestedBy, "olga"))
}

func (w *world) withdraw(ctx context.Context) error {
	node := pick(w.random, w.nodes(live, requested))
	if node == nil {
		return errNothing
	}
	return w.annotate(ctx, node, fmt.Sprintf("%q:null", api.AnnotationCleanupRequestedAt))
}

func (w *world) retry(ctx context.Context) error {
	node := pick(w.random, w.nodes(terminating, held))
	if node == nil {
		return errNothing
	}
	return w.annotate(ctx, node, fmt.Sprintf("%q:%q", api.AnnotationRetryRequestedAt, now()))
}

func (w *world) bypass(ctx context.Context) error {
	node := pick(w.random, w.nodes(terminating, held))
	if node == nil {
		return errNothing
	}
	return w.annotate(ctx, node, fmt.Sprintf("%q:%q,%q:%q,%q:%q", api.AnnotationBypass, "true", api.AnnotationBypassReason, "soak", api.AnnotationBypassBy, "olga"))
}

// removeFinalizer declares it before, for the checker.
func (w *world) removeFinalizer(ctx context.Context) error {
	node := pick(w.random, w.nodes(terminating, held))
	if node == nil {
		return errNothing
	}
	w.declare(node.UID, true)
	_, err := merge(ctx, w.operator, node, `{"metadata":{"finalizers":null}}`)
	if err != nil {
		w.declare(node.UID, false)
	}
	return err
}

// deleteRecord makes a cleanup start from the first step.
func (w *world) deleteRecord(ctx context.Context) error {
	node := pick(w.random, w.nodes(terminating, held))
	if node == nil {
		return errNothing
	}
	return w.admin.CoreV1().ConfigMaps(api.Namespace).Delete(ctx, api.RunName(node.Name, node.UID), metav1.DeleteOptions{})
}

// reboot has a kubelet report another boot ID. The cleanup is then blocked until a retry is requested.
func (w *world) reboot(ctx context.Context) error {
	node := pick(w.random, w.nodes(terminating, held))
	if node == nil {
		return errNothing
	}
	_, err := w.admin.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType,
		fmt.Appendf(nil, `{"metadata":{"uid":%q},"status":{"nodeInfo":{"bootID":%q}}}`, node.UID, now()), metav1.PatchOptions{}, "status")
	return err
}

func (w *world) declare(uid types.UID, is bool) {
	w.checking.Lock()
	defer w.checking.Unlock()
	if is {
		w.checker.Declare(uid, "removed by hand")
	} else {
		w.checker.Undeclare(uid)
	}
}

func (w *world) createPod(ctx context.Context) error { return w.newPod(ctx, "loose-", "") }

// bindPod creates a Pod that names its node, cordoned or not, as static deployments do.
func (w *world) bindPod(ctx context.Context) error {
	candidates := w.nodes()
	if w.random.IntN(2) == 0 {
		candidates = w.nodes(terminating)
	}
	node := pick(w.random, candidates)
	if node == nil {
		return errNothing
	}
	return w.newPod(ctx, "bound-", node.Name)
}

func (w *world) newPod(ctx context.Context, prefix, node string) error {
	pod := cluster.MakePod(shop, "", node)
	pod.GenerateName = prefix
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	_, err := w.admin.CoreV1().Pods(shop).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

func (w *world) deletePod(ctx context.Context) error {
	w.checking.Lock()
	pod := pick(w.random, w.checker.Pods())
	w.checking.Unlock()
	if pod == nil {
		return errNothing
	}
	return w.admin.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
}
