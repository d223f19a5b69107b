package drain

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func ready(status corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker"},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}},
	}
}

func target() cleanup.Target { return cleanup.Target{Began: noon, Log: slog.New(slog.DiscardHandler)} }

func TestEvictionsOfABlockedPodBackOff(t *testing.T) {
	after := int32(0)
	s := &stub{answer: func(*http.Request) metav1.Status { return overBudget(after) }}
	p, clock := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("cart")}
	d := newDrain(p, target(), pods)
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10, 25} {
		if i == 6 {
			after = 25 // The API server knows better than our backoff.
		}
		left, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods)
		if err != nil || len(left) != 1 {
			t.Fatal(left, err)
		}
		if wait := d.requeue.Sub(clock.Now()); wait != want*time.Second {
			t.Errorf("after try %d the next one is in %s, want %ds", i+1, wait, want)
		}
		clock.SetTime(d.requeue.Add(-time.Millisecond))
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
			t.Fatal(err)
		}
		if asked := len(s.asked()); asked != i+1 {
			t.Fatalf("%d requests before try %d was due, want %d", asked, i+2, i+1)
		}
		clock.SetTime(d.requeue)
	}
}

func TestRequeueFollowsTheEarliestRetry(t *testing.T) {
	s := &stub{answer: func(request *http.Request) metav1.Status {
		if strings.Contains(request.URL.Path, "/b/") {
			return overBudget(0)
		}
		return overBudget(25)
	}}
	p, _ := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a"), makePod("b"), makePod("c")}
	d := newDrain(p, target(), pods)
	if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
		t.Fatal(err)
	}
	if d.requeue != noon.Add(firstDelay) {
		t.Errorf("it looks again at %s", d.requeue)
	}
}

func TestAcceptedEvictionIsNotRepeated(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, clock := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a")}
	d := newDrain(p, target(), pods)
	for range 3 {
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
			t.Fatal(err)
		}
		clock.Step(time.Hour)
	}
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
	again := makePod("a", func(pod *corev1.Pod) { pod.UID = "another" })
	for range 2 { // First it waits for others that come at the same time.
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), []*corev1.Pod{again}); err != nil {
			t.Fatal(err)
		}
		clock.Step(controllerDelays[0])
	}
	if asked := s.asked(); len(asked) != 2 {
		t.Errorf("another pod of that name was not evicted: %q", asked)
	}
}

func TestFailedEvictionDoesNotBlockOtherPods(t *testing.T) {
	s := &stub{answer: func(request *http.Request) metav1.Status {
		if !strings.Contains(request.URL.Path, "/b/") {
			return failure(422, metav1.StatusReasonInvalid, "it is invalid")
		}
		return metav1.Status{}
	}}
	p, _ := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a"), makePod("b"), makePod("c")}
	_, err := newDrain(p, target(), pods).advance(t.Context(), ready(corev1.ConditionTrue), pods)
	if want := "evicting pod shop/a: it is invalid; evicting pod shop/c: it is invalid"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if asked := s.asked(); len(asked) != 3 {
		t.Errorf("asked %q", asked)
	}
}

func TestTiersRunInOrder(t *testing.T) {
	pods := []*corev1.Pod{
		makePod("agent", func(pod *corev1.Pod) { pod.Labels = map[string]string{"app.kubernetes.io/name": "nodecleanup"} }),
		makePod("csi", hostPath("/var/lib/kubelet/plugins")),
		makePod("dns", func(pod *corev1.Pod) { pod.Spec.Priority = ptr.To[int32](systemCritical) }),
		makePod("shop"),
		makePod("ends", deleted(time.Minute)),
		makePod("daemon", ownedBy("DaemonSet")),
	}
	p, _ := (&stub{}).plugin(t, options{})
	d := newDrain(p, target(), pods)
	deleted := map[string]bool{}
	for _, want := range [][]string{{"shop"}, {}, {"dns"}, {"csi"}, {"agent"}, {}} {
		var left []*corev1.Pod
		for _, pod := range pods {
			if !deleted[pod.Name] {
				left = append(left, pod)
			}
		}
		got := []string{}
		for _, pod := range d.sort(left, circumstances{now: noon}).evict {
			got = append(got, pod.Name)
			deleted[pod.Name] = true
		}
		if !slices.Equal(got, want) {
			t.Fatalf("evicted %q, want %q", got, want)
		}
		if len(want) == 0 {
			deleted["ends"] = true
		}
	}
}

func TestBudgetsAreRespectedOnlyAsLongAsConfigured(t *testing.T) {
	s := &stub{answer: func(request *http.Request) metav1.Status {
		if request.Method == http.MethodDelete {
			return metav1.Status{}
		}
		return overBudget(0)
	}}
	p, clock := s.plugin(t, options{ForceAfter: metav1.Duration{Duration: 5 * time.Second}})
	pods := []*corev1.Pod{makePod("cart")}
	d := newDrain(p, target(), pods)
	for clock.Since(noon) < 5*time.Second {
		if asked := s.asked(); slices.ContainsFunc(asked, func(request string) bool { return strings.HasPrefix(request, "DELETE") }) {
			t.Fatalf("deleted after %s: %q", clock.Since(noon), asked)
		}
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
			t.Fatal(err)
		}
		clock.SetTime(d.requeue)
	}
	if since := clock.Since(noon); since != 5*time.Second {
		t.Errorf("it looks again after %s, want 5s", since)
	}
	if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
		t.Fatal(err)
	}
	asked := s.asked()
	if last := asked[len(asked)-1]; last != "DELETE /api/v1/namespaces/shop/pods/cart" {
		t.Errorf("the last request is %s", last)
	}
	if last := s.bodies[len(s.bodies)-1]; !strings.Contains(last, `"preconditions":{"uid":"uid-of-cart"}`) || strings.Contains(last, "gracePeriodSeconds") {
		t.Errorf("deleted with %s", last)
	}
}

func TestBudgetTimeIncludesEarlierAttempts(t *testing.T) {
	s := &stub{}
	p, _ := s.plugin(t, options{ForceAfter: metav1.Duration{Duration: 5 * time.Minute}})
	again, pods := target(), []*corev1.Pod{makePod("cart")}
	again.Attempt, again.Began = 2, noon.Add(-5*time.Minute)
	if _, err := newDrain(p, again, pods).advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); len(asked) != 1 || asked[0] != "DELETE /api/v1/namespaces/shop/pods/cart" {
		t.Errorf("asked %q", asked)
	}
}

func TestGracePeriods(t *testing.T) {
	for _, test := range []struct {
		options options
		node    *corev1.Node
		want    string
	}{
		{options{}, ready(corev1.ConditionTrue), ""},
		{options{GracePeriodSeconds: ptr.To[int64](7)}, ready(corev1.ConditionFalse), `"gracePeriodSeconds":7`},
		{options{GracePeriodSeconds: ptr.To[int64](7)}, ready(corev1.ConditionUnknown), `"gracePeriodSeconds":1`},
	} {
		s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
		p, _ := s.plugin(t, test.options)
		pods := []*corev1.Pod{makePod("a")}
		if _, err := newDrain(p, target(), pods).advance(t.Context(), test.node, pods); err != nil {
			t.Fatal(err)
		}
		if got := s.bodies[0]; !strings.Contains(got, test.want) || test.want == "" && strings.Contains(got, "gracePeriodSeconds") {
			t.Errorf("sent %s, want %s in it", got, test.want)
		}
	}
}

func TestUnreachableNodeGetsOneGracePeriod(t *testing.T) {
	p, clock := (&stub{}).plugin(t, options{})
	pods := []*corev1.Pod{makePod("a", deleted(30*time.Second))}
	d := newDrain(p, target(), pods)
	left, err := d.advance(t.Context(), ready(corev1.ConditionUnknown), pods)
	if err != nil || len(left) != 1 || d.requeue != noon.Add(31*time.Second) {
		t.Fatalf("%d pods left, it looks again at %s, %v", len(left), d.requeue, err)
	}
	clock.SetTime(d.requeue)
	if left, err = d.advance(t.Context(), ready(corev1.ConditionUnknown), pods); err != nil || len(left) != 0 {
		t.Errorf("%d pods left, %v", len(left), err)
	}
}

// An accepted eviction has no effect if the kubelet that has to stop the Pod does not respond.
func TestEvictionIsRepeatedOnceWhenTheKubeletDoesNotAnswer(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, _ := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a")}
	d := newDrain(p, target(), pods)
	advance := func(status corev1.ConditionStatus, requests int) {
		t.Helper()
		if left, err := d.advance(t.Context(), ready(status), pods); err != nil || len(left) != 1 {
			t.Fatal(left, err)
		}
		if asked := s.asked(); len(asked) != requests {
			t.Fatalf("asked %q, want %d", asked, requests)
		}
	}
	advance(corev1.ConditionTrue, 1)
	advance(corev1.ConditionUnknown, 1) // Its deletion is not seen yet.
	pods[0] = makePod("a", deleted(2*time.Hour), grace(7200))
	advance(corev1.ConditionTrue, 1)
	if got, want := d.describe(pods), "1 pod remaining: shop/a (terminating, its grace period of 2h0m0s ends at 2026-01-31T14:00:00Z)"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	for range 3 {
		advance(corev1.ConditionUnknown, 2)
	}
	if body := s.bodies[1]; !strings.Contains(body, `"gracePeriodSeconds":1`) {
		t.Errorf("sent %s", body)
	}
}

// No watch event reports the end of a grace period, after which a finalizer blocks the deletion.
func TestFinalizerBlocksAfterTheGracePeriod(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, clock := s.plugin(t, options{})
	held := makePod("a", deleted(30*time.Second), grace(30), func(pod *corev1.Pod) { pod.Finalizers = []string{"a/b"} })
	pods := []*corev1.Pod{held, makePod("b", deleted(10*time.Second), grace(10))}
	d := newDrain(p, target(), pods)
	clock.SetTime(noon)
	for _, want := range []string{"1 pod remaining: shop/a", "1 pod remaining: shop/a (terminating, blocked by finalizer a/b)"} {
		if _, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods); err != nil {
			t.Fatal(err)
		}
		if got := d.describe(pods[:1]); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		if ends := held.DeletionTimestamp.Add(time.Second); clock.Now().Equal(noon) && !d.requeue.Equal(ends) || clock.Now().After(noon) && !d.requeue.IsZero() {
			t.Errorf("at %s, it looks again at %s", clock.Now(), d.requeue)
		}
		clock.SetTime(d.requeue)
	}
}

func TestTerminatingPodOnAnUnreachableNodeIsEvicted(t *testing.T) {
	s := &stub{answer: func(*http.Request) metav1.Status { return metav1.Status{} }}
	p, _ := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a", deleted(2*time.Hour), grace(7200))}
	d := newDrain(p, target(), pods)
	for range 2 {
		if _, err := d.advance(t.Context(), ready(corev1.ConditionUnknown), pods); err != nil {
			t.Fatal(err)
		}
	}
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}
