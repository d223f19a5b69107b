package drain

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A rejection that has nothing to do with EvictionRequests must not end their use for all Pods.
func TestRejectedEvictionRequest(t *testing.T) {
	terminating := caused(failure(403, metav1.StatusReasonForbidden, "forbidden"), 0, corev1.NamespaceTerminatingCause, "shop")
	for name, test := range map[string]struct {
		api    evictionAPI
		answer metav1.Status
		// used and blocked: the Pod waits; fails: the step fails. Otherwise the drain evicts the Pod itself.
		used           bool
		blocked, fails string
		unusable       bool
	}{
		"terminating namespace":        {api: auto, answer: terminating},
		"terminating namespace, alone": {api: evictionRequest, answer: terminating},
		"no right":                     {api: auto, answer: failure(403, metav1.StatusReasonForbidden, "no right"), unusable: true},
		"no right, alone":              {api: evictionRequest, answer: failure(403, metav1.StatusReasonForbidden, "no right"), used: true, fails: "creating its EvictionRequest: no right"},
		"not served":                   {api: auto, answer: failure(404, metav1.StatusReasonNotFound, "no such resource"), unusable: true},
		"not served, alone":            {api: evictionRequest, answer: failure(404, metav1.StatusReasonNotFound, "no such resource"), used: true, fails: "does not serve lifecycle.k8s.io/v1alpha1"},
		"overload":                     {api: auto, answer: failure(429, metav1.StatusReasonTooManyRequests, "too many"), used: true, blocked: "creating its EvictionRequest: too many"},
		"denied by a policy": {api: auto, answer: failure(403, metav1.StatusReasonForbidden, "ValidatingAdmissionPolicy 'calm' with binding 'calm' denied request: not today"),
			used: true, blocked: "denied request: not today"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stub{}
			p, _ := s.plugin(t, options{API: test.api})
			d := newDrain(p, target(), nil)
			used, err := d.cannotRequest(makePod("cart"), &apierrors.StatusError{ErrStatus: test.answer})
			if used != test.used || d.requests.unusable != test.unusable {
				t.Errorf("used %v, unusable %v", used, d.requests.unusable)
			}
			var blocked blockedError
			switch {
			case test.blocked != "":
				if !errors.As(err, &blocked) || !strings.Contains(blocked.reason, test.blocked) || blocked.after < lastDelay {
					t.Errorf("the error is %v", err)
				}
			case test.fails != "":
				if err == nil || errors.As(err, &blocked) || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("the error is %v", err)
				}
			case err != nil:
				t.Errorf("the error is %v", err)
			}
		})
	}
}
