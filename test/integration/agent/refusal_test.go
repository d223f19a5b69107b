package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// refuse makes the API server answer 403 to the agent's writes of a resource for which an
// expression is false, until the returned function is called. The probe is a dry-run write by the
// agent that must be denied.
func (f *fixture) refuse(group, resource, expression string, probe func(context.Context, kubernetes.Interface) error) (allow func()) {
	f.Helper()
	const name = "other-owner"
	user, _ := f.user()
	policies, bindings := f.client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), f.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if _, err := policies.Create(f.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}}}},
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf("request.userInfo.username != '%s' || (%s)", user, expression),
				Message:    "nobody touches this",
				Reason:     new(metav1.StatusReasonForbidden),
			}},
		},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := bindings.Create(f.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	allow = func() {
		ctx := context.WithoutCancel(f.Context())
		for _, err := range []error{bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{})} {
			if err != nil && !apierrors.IsNotFound(err) {
				f.Error(err)
			}
		}
	}
	f.Cleanup(allow)
	agent := kubernetes.NewForConfigOrDie(f.rest())
	f.eventually("the policy is in force", func(ctx context.Context) (bool, error) {
		err := probe(ctx, agent)
		if apierrors.IsForbidden(err) {
			return true, nil
		}
		return false, err
	})
	return allow
}

// patching is a probe that patches a Node.
func patching(node *corev1.Node, patch string) func(context.Context, kubernetes.Interface) error {
	return func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
}

// refuseRecords has no run record be written.
func (f *fixture) refuseRecords() (allow func()) {
	f.Helper()
	return f.refuse("", "configmaps", "!object.metadata.name.startsWith('run-')", func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().ConfigMaps(f.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "run-probe"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
}

// A completed cleanup needs no slot for another attempt.
func TestFailedReleaseIsReportedAndRetried(t *testing.T) {
	f := setUp(t, "concurrency: {nodes: 1}\nsteps:\n- {name: storage, plugin: probe}\n")
	gate := newGate()
	f.probes[""] = gate.pass
	options := f.options()
	options.MetricsListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	f.start(options)
	done, works := f.protected("done"), f.protected("works")
	allow := f.refuse("", "nodes", "!has(oldObject.metadata.finalizers) || has(object.metadata.finalizers) && size(object.metadata.finalizers) == size(oldObject.metadata.finalizers)",
		patching(done, `{"metadata":{"finalizers":null}}`))
	f.delete(done)
	<-gate.began
	gate.open <- struct{}{}
	message := f.awaitState(done, api.Blocked)
	if !strings.Contains(message, "removing the finalizer failed, retrying") || !strings.Contains(message, "nobody touches this") {
		t.Errorf("the condition says %q", message)
	}
	f.eventually("the metrics tell of it", func(context.Context) (bool, error) {
		_, body, err := f.get("http://" + options.MetricsListen + "/metrics")
		return strings.Contains(body, `node_cleanup_runs_unfinished{state="Blocked"} 1`), err
	})
	if run := f.record(done); run.State != api.Succeeded {
		t.Errorf("the record says %s", run.State)
	}
	f.delete(works)
	<-gate.began
	allow()
	f.awaitDeleted(done)
	close(gate.open)
	f.awaitDeleted(works)
}

// An agent that ends between the two writes must resume the rest.
func TestFailedUncordonIsRetried(t *testing.T) {
	cordonedBy := "metadata.?annotations['" + api.AnnotationCordonedBy + "'].orValue('')"
	for how, giveUp := range map[string]func(*fixture, *corev1.Node){
		"the request is withdrawn": (*fixture).withdraw,
		"the node is uncordoned":   func(f *fixture, node *corev1.Node) { f.patch(node, `{"spec":{"unschedulable":false}}`) },
	} {
		t.Run(how, func(t *testing.T) {
			f := setUp(t, oneProbe)
			f.counted("storage")
			stop := f.start(f.options())
			node := f.protected("worker")
			f.request(node, firstRequest)
			f.awaitState(node, api.Succeeded)
			allow := f.refuse("", "nodes", "object."+cordonedBy+" == oldObject."+cordonedBy, patching(node, `{"metadata":{"annotations":{"`+api.AnnotationCordonedBy+`":null}}}`))
			giveUp(f, node)
			f.eventually("the record says that the cleanup was given up", func(context.Context) (bool, error) { return f.record(node).State == api.Canceled, nil })
			if current := f.read(node); api.CleanupConditionOf(current).Reason == string(api.Canceled) {
				t.Errorf("the condition says so before it is: %+v", current)
			}
			stop()
			allow()
			f.start(f.options())
			f.awaitState(node, api.Canceled)
			if current := f.read(node); current.Spec.Unschedulable || current.Annotations[api.AnnotationCordonedBy] != "" {
				t.Errorf("the cordon was not given back: %+v", current)
			}
		})
	}
}
