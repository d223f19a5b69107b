package drain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestRemainingPodsAreListedBlockedFirst(t *testing.T) {
	p, _ := (&stub{}).plugin(t, options{})
	d := newDrain(p, target(), nil)
	var pods []*corev1.Pod
	for i := range 5 {
		pods = append(pods, makePod(fmt.Sprintf("p%d", i)))
	}
	d.evictions[pods[4].UID] = &evictionState{blocked: "budget cart needs 1"}
	d.evictions[pods[3].UID] = &evictionState{accepted: true}
	deleted(0)(pods[2])
	pods[2].Finalizers = []string{"a/b", "c/d"}
	for n, want := range map[int]string{
		1: "1 pod remaining: shop/p4 (budget cart needs 1)",
		2: "2 pods remaining: shop/p4 (budget cart needs 1), shop/p3",
		5: "5 pods remaining: shop/p2 (terminating, blocked by finalizer a/b, c/d), shop/p4 (budget cart needs 1), shop/p0 and 2 more",
	} {
		if got := d.describe(pods[5-n:]); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	}
}

func TestReasonsAreNamedOnceAndShortened(t *testing.T) {
	p, _ := (&stub{}).plugin(t, options{})
	d := newDrain(p, target(), nil)
	var pods []*corev1.Pod
	add := func(namespace, name, blocked string) {
		pod := makePod(name, func(pod *corev1.Pod) { pod.Namespace, pod.UID = namespace, types.UID(namespace+name) })
		d.evictions[pod.UID] = &evictionState{blocked: blocked}
		pods = append(pods, pod)
	}
	for i := range 4 {
		add("shop", fmt.Sprintf("cart-%d", i), "budget cart needs 4")
	}
	add("shop", "db-0", "budget db needs 1")
	add("bank", "cart-0", "budget cart needs 4")
	add("shop", "ends", "")
	if got, want := d.describe(pods), "7 pods remaining: bank/cart-0 (budget cart needs 4), shop/cart-0 and 3 more (budget cart needs 4), shop/db-0 (budget db needs 1), shop/ends"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	for i := range 100 {
		add("many", fmt.Sprintf("p%02d", i), fmt.Sprintf("budget %02d needs 1", i))
	}
	add("many", "long", strings.Repeat("ä", maxReason))
	got := d.describe(pods)
	if len(got) > maxDescription+100 || !utf8.ValidString(got) || !strings.HasPrefix(got, "108 pods remaining: bank/cart-0 (budget cart needs 4), many/long (ääää") {
		t.Errorf("said, in %d bytes, %q", len(got), got)
	}
	listed := strings.Count(got, "(budget ") + strings.Count(got, "(ää")
	// Of 104 reasons one has four pods; the pod without a reason is among the rest.
	if want := fmt.Sprintf(", and %d more for %d other reasons", 104-listed+1+3, 104-listed); !strings.HasSuffix(got, want) {
		t.Errorf("said %q, want %q at the end", got, want)
	}
}

func TestTerminatingPodIsNotReportedAsBlocked(t *testing.T) {
	answer := overBudget(0)
	s := &stub{answer: func(*http.Request) metav1.Status { return answer }}
	p, clock := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("cart")}
	d := newDrain(p, target(), pods)
	for _, want := range []string{"1 pod remaining: shop/cart (budget cart needs 1)", "1 pod remaining: shop/cart"} {
		left, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.describe(left); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		answer = metav1.Status{}
		clock.SetTime(d.requeue)
	}
}

func TestStoppedDrainNamesTheRemainingPods(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the lease is lost")
	s := &stub{answer: func(*http.Request) metav1.Status { cancel(cause); return metav1.Status{} }}
	p, _ := s.plugin(t, options{})
	var pods []*corev1.Pod
	for i := range 2 * firstWindow {
		pods = append(pods, makePod(fmt.Sprintf("p%d", i)))
	}
	_, err := newDrain(p, target(), pods).advance(ctx, ready(corev1.ConditionTrue), pods)
	if !errors.Is(err, cause) {
		t.Errorf("error is %v", err)
	}
	if asked := s.asked(); len(asked) > firstWindow {
		t.Errorf("asked after the end: %q", asked)
	}
}
