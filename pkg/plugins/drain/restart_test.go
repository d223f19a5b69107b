package drain

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// cart is a Deployment with one replica, as the API server completes it.
func cart(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromString("25%"))},
		}},
	}
	for _, c := range change {
		c(deployment)
	}
	return deployment
}

func restarting(t *testing.T, client *fake.Clientset) (*drain, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(noon)
	p := &plugin{options: bound(t, `{"rules":[{"namespaces":["shop"],"action":"rolloutRestart"}]}`), client: client, clock: clock}
	return newDrain(p, target(), nil), clock
}

func patches(client *fake.Clientset) int {
	count := 0
	for _, action := range client.Actions() {
		if action.GetVerb() == "patch" {
			count++
		}
	}
	return count
}

func TestRolloutIsRestartedOnce(t *testing.T) {
	client := fake.NewClientset(cart())
	pod := ofCart(0, noon.Add(-time.Hour))
	const waits = "waiting for the rollout of Deployment shop/cart"
	for attempt := range 2 {
		d, clock := restarting(t, client)
		d.target.Attempt = attempt + 1
		for range 3 {
			others, err := d.restartAll(t.Context(), []*corev1.Pod{pod})
			if err != nil || len(others) != 0 || d.describe([]*corev1.Pod{pod}) != "1 pod remaining: shop/cart-0 ("+waits+")" {
				t.Fatal(others, err, d.describe([]*corev1.Pod{pod}))
			}
			clock.SetTime(d.requeue)
			d.requeue = time.Time{}
		}
	}
	read, err := client.AppsV1().Deployments("shop").Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := read.Spec.Template.Annotations[restartedAt]; got != "2026-01-31T12:00:00Z" || patches(client) != 1 {
		t.Errorf("restarted %d times, at %s", patches(client), got)
	}
	// The new Pod is no reason for another rollout.
	d, _ := restarting(t, client)
	pod.Annotations = map[string]string{restartedAt: "2026-01-31T12:00:00Z"}
	if others, err := d.restartAll(t.Context(), []*corev1.Pod{pod}); err != nil || len(others) != 1 || patches(client) != 1 {
		t.Errorf("evicted are %v, %d restarts, %v", others, patches(client), err)
	}
}

func TestStuckRolloutIsNamed(t *testing.T) {
	client := fake.NewClientset(cart(func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Annotations = map[string]string{restartedAt: "2026-01-31T12:00:01Z"}
		deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Message: "it has timed out progressing"}}
	}))
	d, _ := restarting(t, client)
	pod := ofCart(0, noon)
	if _, err := d.restartAll(t.Context(), []*corev1.Pod{pod}); err != nil || patches(client) != 0 {
		t.Errorf("%d restarts, %v", patches(client), err)
	}
	if got, want := d.describe([]*corev1.Pod{pod}), "1 pod remaining: shop/cart-0 (waiting for the rollout of Deployment shop/cart: it has timed out progressing)"; got != want {
		t.Errorf("said %q", got)
	}
}

func TestWorkloadsExcludedFromRestart(t *testing.T) {
	db := func(change func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}
		change(set)
		return set
	}
	ofDB := makePod("db-0", ownedBy("StatefulSet"), func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "db" })
	for why, test := range map[string]struct {
		client *fake.Clientset
		pod    *corev1.Pod
	}{
		"": {fake.NewClientset(db(func(*appsv1.StatefulSet) {})), ofDB},
		"it belongs to neither a Deployment nor a StatefulSet": {fake.NewClientset(), makePod("a")},
		"there is no Deployment shop/cart":                     {fake.NewClientset(), ofCart(0, noon)},
		"it has more than one replica":                         {fake.NewClientset(cart(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })), ofCart(0, noon)},
		"its rollout is paused":                                {fake.NewClientset(cart(func(d *appsv1.Deployment) { d.Spec.Paused = true })), ofCart(0, noon)},
		"its strategy deletes the old Pod before it creates the new one": {fake.NewClientset(cart(func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
		})), ofCart(0, noon)},
		"its update strategy is OnDelete": {fake.NewClientset(db(func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		})), ofDB},
		"its update strategy has a partition": {fake.NewClientset(db(func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](1)}
		})), ofDB},
	} {
		d, _ := restarting(t, test.client)
		others, err := d.restartAll(t.Context(), []*corev1.Pod{test.pod})
		if err != nil || (len(others) == 1) != (why != "") || (patches(test.client) == 0) != (why != "") {
			t.Errorf("%s: evicted %v, %d restarts, %v", why, others, patches(test.client), err)
		}
		effect := d.previewRestart(t.Context(), test.pod)
		if why == "" && (effect.Action != cleanup.Restart || effect.Object.String() != "shop/db") || why != "" && (effect.Action != cleanup.Evict || !strings.HasSuffix(effect.Reason, why)) {
			t.Errorf("%s: the effect is %+v", why, effect)
		}
	}
}

func TestRightsOfARolloutRestart(t *testing.T) {
	for written, want := range map[string]bool{`{}`: false, `{"rules":[{"action":"rolloutRestart"}]}`: true} {
		p := &plugin{options: bound(t, written)}
		got := false
		for _, rule := range p.Rules() {
			got = got || slices.Contains(rule.Resources, "deployments") && slices.Contains(rule.Verbs, "patch")
		}
		if got != want {
			t.Errorf("%s: %v", written, got)
		}
	}
}
