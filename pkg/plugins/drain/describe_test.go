package drain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhatIsLeftIsNamedBlockedPodsFirst(t *testing.T) {
	p, _ := (&stub{}).plugin(t, options{})
	d := newDrain(p, target(), nil)
	var pods []*corev1.Pod
	for i := range 5 {
		pods = append(pods, makePod(fmt.Sprintf("p%d", i)))
	}
	d.tries[pods[4].UID] = &try{blocked: "budget cart needs 1"}
	d.tries[pods[3].UID] = &try{accepted: true}
	deleted(0)(pods[2])
	pods[2].Finalizers = []string{"a/b", "c/d"}
	for n, want := range map[int]string{
		1: "1 pod left: shop/p4 (budget cart needs 1)",
		2: "2 pods left: shop/p4 (budget cart needs 1), shop/p3",
		5: "5 pods left: shop/p2 (terminating, held by finalizer a/b, c/d), shop/p4 (budget cart needs 1), shop/p0, …",
	} {
		if got := d.describe(pods[5-n:]); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	}
}

func TestAPodThatGoesIsNotSaidToBeBlocked(t *testing.T) {
	answer := overBudget(0)
	s := &stub{answer: func(*http.Request) metav1.Status { return answer }}
	p, clock := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("cart")}
	d := newDrain(p, target(), pods)
	for _, want := range []string{"1 pod left: shop/cart (budget cart needs 1)", "1 pod left: shop/cart"} {
		left, err := d.advance(t.Context(), ready(corev1.ConditionTrue), pods)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.describe(left); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		answer = metav1.Status{}
		clock.SetTime(d.due)
	}
}

func TestADrainThatIsStoppedWhileItEvictsNamesWhatIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the lease is lost")
	s := &stub{answer: func(*http.Request) metav1.Status { cancel(cause); return metav1.Status{} }}
	p, _ := s.plugin(t, options{})
	pods := []*corev1.Pod{makePod("a"), makePod("b")}
	_, err := newDrain(p, target(), pods).advance(ctx, ready(corev1.ConditionTrue), pods)
	if !errors.Is(err, cause) {
		t.Errorf("error is %v", err)
	}
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}
