package admission_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func pausedBy(user string) func(context.Context, kubernetes.Interface, *corev1.ConfigMap) error {
	return patchOf(fmt.Sprintf(`{"metadata":{"annotations":{%q:"true",%q:%q}}}`, api.AnnotationPause, api.AnnotationPauseBy, user))
}

func TestPauseCannotNameAnotherUser(t *testing.T) {
	f := setUpRecords(t)
	status := f.store(t, configMap(api.StatusName, nil))
	operator := f.as("op", "operators", "writers")
	f.eventually("the operator may write the status", func(ctx context.Context) (bool, error) {
		err := pausedBy("op")(ctx, operator, status)
		return err == nil, nil
	})
	for what, change := range map[string]func(context.Context, kubernetes.Interface, *corev1.ConfigMap) error{
		"a pause in the name of another":  pausedBy("alice"),
		"a resume in the name of another": patchOf(fmt.Sprintf(`{"metadata":{"annotations":{%q:"false",%q:"alice"}}}`, api.AnnotationPause, api.AnnotationPauseBy)),
		"a pause without a name":          patchOf(fmt.Sprintf(`{"metadata":{"annotations":{%q:"yes",%q:null}}}`, api.AnnotationPause, api.AnnotationPauseBy)),
	} {
		if err := change(t.Context(), operator, status); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "must be your name, op") {
			t.Errorf("%s: the answer is %v", what, err)
		}
	}
	// Another operator resumes, or gives another reason, in the own name only.
	other := f.as("opal", "operators", "writers")
	reason := fmt.Sprintf(`{"metadata":{"annotations":{%q:"because"}}}`, api.AnnotationPauseReason)
	if err := patchOf(reason)(t.Context(), other, status); !apierrors.IsForbidden(err) {
		t.Errorf("a reason in the name of another: the answer is %v", err)
	}
	if err := patchOf(reason)(t.Context(), operator, status); err != nil {
		t.Errorf("another reason of the same operator: %v", err)
	}
	if err := pausedBy("wendy")(t.Context(), f.writer(), status); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may pause or resume cleanups") {
		t.Errorf("a pause without the verb bypass: the answer is %v", err)
	}
	// The agent writes its status during a pause.
	if err := changes["patch of the data"](t.Context(), f.agent(), status); err != nil {
		t.Errorf("the agent's status: %v", err)
	}
}
