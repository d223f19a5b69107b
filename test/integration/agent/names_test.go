package agent_test

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestRecordNamesTheUsersOfRetryAndBypass(t *testing.T) {
	f := setUp(t, "retry: {maxRetries: 0}\n"+oneProbe)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	f.awaitState(node, api.Failed)
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: firstRequest, api.AnnotationRetryRequestedBy: "admin"})
	f.awaitEvent(node, "CleanupRetried", "Retry requested by admin: ")
	f.eventually("it is retried", func(context.Context) (bool, error) {
		run := f.record(node)
		return run.RetryRequestedAt == firstRequest && run.State == api.Failed, nil
	})
	f.annotate(node, map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassReason: "scrap", api.AnnotationBypassBy: "admin"})
	f.awaitDeleted(node)
	f.awaitEvent(node, "CleanupBypassed", "Cleanup bypassed by admin, ")
	if run := f.record(node); run.Bypasser() != "admin" || run.Retrier() != "admin" || run.Message != "bypassed by admin: scrap" {
		t.Errorf("the run record says %+v", run)
	}
}

// Without the policy, every user with the right to patch Nodes can write any name.
func TestNameWithoutPolicyIsRecordedAsUnverified(t *testing.T) {
	f := setUp(t, oneProbe)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
	f.start(f.options())
	node := f.protected("worker")
	if err := f.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), api.WebhookName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.delete(node)
	f.eventually("the policy is not enforced any more", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"`+api.AnnotationBypass+`":"true","`+api.AnnotationBypassBy+`":"jane"}}}`), metav1.PatchOptions{})
		return err == nil, nil
	})
	f.awaitDeleted(node)
	f.awaitEvent(node, "CleanupBypassed", "Cleanup bypassed by jane (unverified), ")
	if run := f.record(node); run.Bypasser() != "jane (unverified)" {
		t.Errorf("the run record says %+v", run)
	}
}
