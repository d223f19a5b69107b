package inspect

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func tainted(name string, keys ...string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"os": "linux"}}}
	for _, key := range keys {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
	return node
}

// stalled returns the objects of an agent that is not rolled out: its Deployment, and a Pod in that state.
func stalled(spec corev1.PodSpec, status corev1.PodStatus) []runtime.Object {
	own := metav1.ObjectMeta{Namespace: "ns", Name: api.Agent, Labels: map[string]string{"app": "agent"}}
	pod := own
	pod.Name = "agent-1"
	return []runtime.Object{
		&appsv1.Deployment{ObjectMeta: own, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: own.Labels}, Template: corev1.PodTemplateSpec{Spec: spec}}},
		&corev1.Pod{ObjectMeta: pod, Spec: spec, Status: status},
	}
}

func TestUntoleratedTaints(t *testing.T) {
	const message = "0/2 nodes are available: 2 node(s) had untolerated taint(s)."
	pending := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message + " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
	}}}
	spec := corev1.PodSpec{
		NodeSelector: map[string]string{"os": "linux"},
		Tolerations:  []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
	}
	deleted := tainted("w0", corev1.TaintNodeUnschedulable)
	deleted.DeletionTimestamp, deleted.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{api.Finalizer}
	windows := tainted("w0", corev1.TaintNodeDiskPressure)
	windows.Labels = nil
	preferred := tainted("w0", "soft")
	preferred.Spec.Taints[0].Effect = corev1.TaintEffectPreferNoSchedule
	for name, test := range map[string]struct {
		nodes        []runtime.Object
		text, remedy string
	}{
		"disk": {
			[]runtime.Object{tainted("w1", corev1.TaintNodeDiskPressure), tainted("w2", "fake"), tainted("w3", "fake")},
			"; untolerated taints: node.kubernetes.io/disk-pressure (node w1), fake (2 nodes)",
			"free disk space on node w1, then Kubernetes removes taint node.kubernetes.io/disk-pressure: kubectl describe node w1",
		},
		"cordoned": {
			[]runtime.Object{tainted("w1", "fake"), tainted("w2", corev1.TaintNodeUnschedulable)},
			"; untolerated taints: node.kubernetes.io/unschedulable (node w2), fake (node w1)", "kubectl uncordon w2",
		},
		"fewest taints": {
			[]runtime.Object{tainted("w1", corev1.TaintNodeNotReady, "a", "b", "c"), tainted("w2", "fake")},
			"; untolerated taints: node.kubernetes.io/not-ready (node w1), a (node w1), b (node w1), 2 more",
			"add a node without taint fake, or let the agent tolerate it (" + api.Documents + "install.md), or remove it: kubectl taint node w2 fake:NoSchedule-",
		},
		"not for this pod": {[]runtime.Object{tainted("w1", "dedicated"), deleted}, "", "kubectl -n ns describe pod agent-1"},
		"not selected":     {[]runtime.Object{windows}, "", "kubectl -n ns describe pod agent-1"},
		"not enforced":     {[]runtime.Object{preferred}, "", "kubectl -n ns describe pod agent-1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewReader(fake.NewClientset(append(stalled(spec, pending), test.nodes...)...), "ns", time.Now).Agent(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := "pod agent-1: " + message + test.text; s.Stall == nil || s.Stall.Text != want {
				t.Errorf("got %+v, want %q", s.Stall, want)
			}
			if got := stallRemedy(s, printer.Agent{}); got != test.remedy {
				t.Errorf("the remedy is %q, want %q", got, test.remedy)
			}
		})
	}
	t.Run("forbidden", func(t *testing.T) {
		client := fake.NewClientset(stalled(spec, pending)...)
		client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", nil)
		})
		s, err := NewReader(client, "ns", time.Now).Agent(t.Context())
		if err != nil || s.Stall.Text != "pod agent-1: "+message {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

// An undo helps only if the earlier revision has another image.
func TestUndoOfAnImage(t *testing.T) {
	const image = "registry.example.com/agent:v2"
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: image}}}
	never := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "not present"}}}}}
	revision := func(number, image string) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "agent-" + number, Labels: map[string]string{"app": "agent"}, Annotations: map[string]string{revisionAnnotation: number}},
			Spec:       appsv1.ReplicaSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: image}}}}},
		}
	}
	const undo, load = "rollout undo", "load the image"
	for name, test := range map[string]struct {
		sets []runtime.Object
		want string
	}{
		"another image":       {[]runtime.Object{revision("8", "v0"), revision("9", "v1"), revision("10", image)}, undo},
		"the same image":      {[]runtime.Object{revision("8", "v0"), revision("9", image), revision("10", image)}, load},
		"no earlier revision": {[]runtime.Object{revision("10", image)}, load},
	} {
		t.Run(name, func(t *testing.T) {
			objects := stalled(spec, never)
			objects[0].(*appsv1.Deployment).Annotations = map[string]string{revisionAnnotation: "10"}
			s, err := NewReader(fake.NewClientset(append(objects, test.sets...)...), "ns", time.Now).Agent(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := stallRemedy(s, printer.Agent{}); !strings.Contains(got, test.want) {
				t.Errorf("the remedy is %q, want %q", got, test.want)
			}
		})
	}
}
