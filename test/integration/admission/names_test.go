package admission_test

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// annotateAll sets several annotations in one request, given as the members of a JSON object.
func annotateAll(t *testing.T, client kubernetes.Interface, node, annotations string) error {
	t.Helper()
	_, err := client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(`{"metadata":{"annotations":{`+annotations+`}}}`), metav1.PatchOptions{})
	return err
}

func TestBypassCannotNameAnotherUser(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	op, opal := f.as("op", "operators"), f.as("opal", "operators")
	const set = `"nodecleanup.io/bypass":"true"`
	denied := func(what string, err error, name string) {
		t.Helper()
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "must be your name, "+name) || !strings.Contains(err.Error(), "nodecleanup.io/bypass-by="+name) {
			t.Errorf("%s: the answer is %v", what, err)
		}
	}
	denied("a bypass without a name", annotateAll(t, op, "worker", set), "op")
	denied("a bypass in the name of another", annotateAll(t, op, "worker", set+`,"nodecleanup.io/bypass-by":"opal"`), "op")
	if err := annotateAll(t, op, "worker", set+`,"nodecleanup.io/bypass-by":"op"`); err != nil {
		t.Fatalf("a bypass in the own name: %v", err)
	}
	for what, change := range map[string]string{
		"another reason": `"nodecleanup.io/bypass-reason":"because"`, "a later end": `"nodecleanup.io/bypass-until":"2030-01-01T00:00:00Z"`,
		"the name alone": `"nodecleanup.io/bypass-by":null`, "the value": `"nodecleanup.io/bypass":"1"`,
	} {
		denied(what, annotateAll(t, opal, "worker", change), "opal")
	}
	if err := annotateAll(t, op, "worker", `"nodecleanup.io/bypass-reason":"because"`); err != nil {
		t.Errorf("another reason of the same operator: %v", err)
	}
	if err := annotateAll(t, opal, "worker", `"nodecleanup.io/bypass-by":"opal"`); err != nil {
		t.Errorf("another operator takes it over: %v", err)
	}
	if err := annotateAll(t, op, "worker", `"nodecleanup.io/bypass":null`); err != nil {
		t.Errorf("another operator removes it: %v", err)
	}
	// The remaining annotations name opal.
	denied("a new bypass without a name", annotateAll(t, op, "worker", set), "op")
	if enforced, err := access.NamesEnforced(t.Context(), f.agent()); err != nil || !enforced {
		t.Errorf("the agent sees that names are enforced: %v, %v", enforced, err)
	}
}

func TestRequestCannotNameAnotherUser(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	ed, eve := f.as("ed", "editors"), f.as("eve", "editors")
	for _, request := range []string{"nodecleanup.io/cleanup-requested", "nodecleanup.io/retry-requested"} {
		denied := func(what string, err error) {
			t.Helper()
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), request+"-by of node worker names another user") || !strings.Contains(err.Error(), request+"-by=eve") {
				t.Errorf("%s, %s: the answer is %v", request, what, err)
			}
		}
		both := func(at, by string) string { return fmt.Sprintf("%q:%q,%q:%q", request+"-at", at, request+"-by", by) }
		denied("in the name of another", annotateAll(t, eve, "worker", both("now", "ed")))
		if err := annotateAll(t, eve, "worker", fmt.Sprintf("%q:%q", request+"-at", "now")); err != nil {
			t.Errorf("%s without a name: %v", request, err)
		}
		if err := annotateAll(t, ed, "worker", both("later", "ed")); err != nil {
			t.Errorf("%s in the own name: %v", request, err)
		}
		denied("a newer one that leaves the name", annotateAll(t, eve, "worker", fmt.Sprintf("%q:%q", request+"-at", "still later")))
		if request+"-plan" == api.AnnotationCleanupRequestedPlan {
			denied("another plan that leaves the name", annotateAll(t, eve, "worker", fmt.Sprintf("%q:%q", request+"-plan", "p")))
		}
		if err := annotateAll(t, eve, "worker", fmt.Sprintf("%q:null", request+"-at")); err != nil {
			t.Errorf("%s is withdrawn by another: %v", request, err)
		}
		if err := annotateAll(t, eve, "worker", fmt.Sprintf("%q:%q,%q:null", request+"-at", "at last", request+"-by")); err != nil {
			t.Errorf("%s, with the name removed: %v", request, err)
		}
	}
	if err := annotateAll(t, ed, "worker", fmt.Sprintf("%q:%q", api.AnnotationProtect, "true")); err != nil {
		t.Errorf("another annotation: %v", err)
	}
}
