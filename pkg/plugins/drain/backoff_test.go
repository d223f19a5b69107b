package drain

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// cordonedNode has been cordoned at noon.
func cordonedNode() *corev1.Node {
	node := ready(corev1.ConditionTrue)
	node.Spec.Unschedulable = true
	node.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: noon}, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:unschedulable":{}}}`)}}}
	return node
}

// A Pod of the Deployment shop/cart, of a rollout of its own.
func ofCart(number int, created time.Time) *corev1.Pod {
	return makePod(fmt.Sprintf("cart-%d", number), func(pod *corev1.Pod) {
		hash := fmt.Sprintf("hash%d", number)
		pod.Labels = map[string]string{"pod-template-hash": hash}
		pod.OwnerReferences[0].Name, pod.OwnerReferences[0].UID = "cart-"+hash, types.UID(hash)
		pod.CreationTimestamp = metav1.NewTime(created)
	})
}

func TestRecreatedPodsAreEvictedAFewTimes(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, clock := s.plugin(t, options{})
	node, said := cordonedNode(), map[string]bool{}
	on := []*corev1.Pod{ofCart(0, noon.Add(-time.Hour)), ofCart(1, noon.Add(-time.Hour))}
	made := 2
	for attempt := range 2 {
		d := newDrain(p, target(), on)
		for clock.Since(noon) < time.Duration(attempt+1)*time.Hour {
			for range 50 { // As many changes in a row.
				left, err := d.advance(t.Context(), node, on)
				if err != nil || len(left) != 2 {
					t.Fatal(left, err)
				}
				said[d.describe(left)] = true
				for i, pod := range on {
					if known := d.evictions[pod.UID]; known != nil && known.accepted {
						on[i] = ofCart(made, clock.Now()) // Its controller replaces it at once, here.
						made++
					}
				}
			}
			if d.requeue.IsZero() {
				clock.SetTime(noon.Add(time.Duration(attempt+1) * time.Hour))
			} else {
				clock.SetTime(d.requeue)
			}
		}
		if got, want := len(s.asked()), 2+4*(attempt+1); got != want {
			t.Errorf("%d evictions after %d attempts, want %d", got, attempt+1, want)
		}
	}
	for _, want := range []string{
		"2 pods remaining: shop/cart-4 and 1 more (controller Deployment shop/cart puts its Pods back on this node)",
		"2 pods remaining: shop/cart-6 and 1 more (controller Deployment shop/cart puts its Pods back on this node; no further eviction in this attempt)",
	} {
		if !said[want] {
			t.Errorf("did not say %q but %v", want, said)
		}
	}
}

// Pods that the scheduler bound before it knew of the cordon are evicted together, once.
func TestPodsBoundDuringTheCordonAreEvicted(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, clock := s.plugin(t, options{})
	there := ofCart(0, noon)
	d := newDrain(p, target(), []*corev1.Pod{there})
	on := []*corev1.Pod{there, ofCart(1, noon), ofCart(2, noon.Add(time.Second))}
	if _, err := d.advance(t.Context(), cordonedNode(), on); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); len(asked) != 1 || !strings.HasSuffix(asked[0], "/cart-0/eviction") || d.requeue != noon.Add(time.Second) {
		t.Errorf("asked %q, looks again at %s", asked, d.requeue)
	}
	clock.SetTime(d.requeue)
	if _, err := d.advance(t.Context(), cordonedNode(), on); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); len(asked) != 3 {
		t.Errorf("asked %q", asked)
	}
}

func TestControllersRecreatingPodsOnTheNode(t *testing.T) {
	pinned := func(pod *corev1.Pod) {
		pod.ManagedFields = []metav1.ManagedFieldsEntry{{FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:nodeName":{}}}`)}}}
	}
	tolerant := tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists})
	named := func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "cart" }
	for name, test := range map[string]struct {
		pod             *corev1.Pod
		reason, blocked string
	}{
		"ordinary":             {pod: makePod("a", named)},
		"nodeName in template": {pod: makePod("a", named, pinned, tolerant), blocked: "controller ReplicaSet shop/cart puts its Pods back on this node: its Pod template sets spec.nodeName"},
		"of an operator":       {pod: makePod("a", named, ownedBy("StorageCluster"), pinned)},
		"unmanaged":            {pod: makePod("a", unmanaged, pinned, tolerant)},
		"tolerates": {pod: makePod("a", named, tolerant, withEmptyDir),
			reason: "the data in its emptyDir volume is lost; controller ReplicaSet shop/cart may put it back on this node, it tolerates the cordon"},
		"DaemonSet": {pod: makePod("a", named, ownedBy("DaemonSet"), tolerant), reason: "DaemonSet"},
	} {
		effect := options{AllowUnmanaged: true, AllowEmptyDirData: true}.decide(test.pod, circumstances{now: noon}).effect(test.pod)
		predictReturn(&effect, test.pod)
		blocked := cleanup.Blocker{}
		if effect.Blocked != nil {
			blocked = *effect.Blocked
		}
		if effect.Reason != test.reason || blocked.Message != test.blocked || test.blocked != "" && blocked.Cause != cleanup.BlockedByController {
			t.Errorf("%s: %+v %+v", name, effect, blocked)
		}
	}
}
