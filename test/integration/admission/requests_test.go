package admission_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// requests are the annotations that request a cleanup, a retry or another action, and the
// annotations that they depend on.
var requests = []string{
	api.AnnotationCleanupRequestedAt, api.AnnotationCleanupRequestedBy, api.AnnotationRetryRequestedAt, api.AnnotationRetryRequestedBy,
	api.AnnotationCordonedBy, api.AnnotationProtect, api.AnnotationCleanupRequestedPlan,
}

// annotate sets an annotation in a dry run, or removes it if the value is empty.
func annotate(t *testing.T, client kubernetes.Interface, node, key, value string, subresources ...string) error {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, key)
	}
	_, err := client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, subresources...)
	return err
}

// asked is a Node on which each of the annotations is.
func (f *fixture) asked(name string) *corev1.Node {
	f.Helper()
	f.node(name)
	for _, key := range requests {
		value := "true"
		if strings.HasSuffix(key, "-requested-by") {
			value = nameOf(f.T, f.admin) // The policy rejects the name of another user.
		}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
		if _, err := f.admin.CoreV1().Nodes().Patch(f.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			f.Fatal(err)
		}
	}
	node, err := f.admin.CoreV1().Nodes().Get(f.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

// reporter may write the status of Nodes, as agents of monitoring do, and no Node.
func (f *fixture) reporter() kubernetes.Interface {
	f.Helper()
	f.bind("reporters", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes/status"}, Verbs: []string{"patch", "update"}})
	return f.as("system:serviceaccount:kube-system:node-problem-detector", "system:serviceaccounts", "reporters")
}

func TestKubeletsAndStatusWritersCannotRequest(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	f.asked("asked")
	reporter := f.reporter()
	for _, key := range requests {
		for what, err := range map[string]error{
			"a kubelet, on its own node":                  annotate(t, f.kubelet("worker"), "worker", key, "true"),
			"a kubelet, on its own status":                annotate(t, f.kubelet("worker"), "worker", key, "true", "status"),
			"a kubelet that takes it off":                 annotate(t, f.kubelet("asked"), "asked", key, ""),
			"a kubelet that takes it off by the status":   annotate(t, f.kubelet("asked"), "asked", key, "", "status"),
			"who may write the status":                    annotate(t, reporter, "worker", key, "true", "status"),
			"who may write the status and takes it off":   annotate(t, reporter, "asked", key, "", "status"),
			"who may write the status and changes it":     annotate(t, reporter, "asked", key, "other", "status"),
			"who may patch nodes, but through the status": annotate(t, f.as("ed", "editors"), "worker", key, "true", "status"),
		} {
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "is left as it is") || !strings.Contains(err.Error(), "through nodes/status") {
				t.Errorf("%s: %s is answered %v", key, what, err)
			}
		}
	}
	// On a Node with such annotations, their regular updates are still allowed.
	for what, client := range map[string]kubernetes.Interface{"a kubelet": f.kubelet("asked"), "a reporter": reporter} {
		if _, err := client.CoreV1().Nodes().Patch(t.Context(), "asked", types.StrategicMergePatchType,
			[]byte(`{"status":{"conditions":[{"type":"KernelDeadlock","status":"False","reason":"KernelHasNoDeadlock"}]}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Errorf("%s, a condition: %v", what, err)
		}
	}
}

func TestUsersWhoPatchNodesCanRequest(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	f.asked("asked")
	for _, key := range requests {
		for who, client := range map[string]kubernetes.Interface{"an editor": f.as("ed", "editors"), "an operator": f.as("op", "operators"), "the agent": f.agent()} {
			if err := annotate(t, client, "worker", key, "true"); err != nil {
				t.Errorf("%s: %s: %v", key, who, err)
			}
			if key == api.AnnotationCleanupRequestedPlan {
				continue // Without its plan, it is another request, under the name of the first user.
			}
			if err := annotate(t, client, "asked", key, ""); err != nil {
				t.Errorf("%s: %s takes it off: %v", key, who, err)
			}
		}
		if err := annotate(t, f.agent(), "worker", key, "true", "status"); err != nil {
			t.Errorf("%s: the agent, through the status: %v", key, err)
		}
	}
}

// overrides need the verb bypass by every way, and so does a Node that is made with one.
func TestEveryOverrideNeedsTheVerb(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	reporter := f.reporter()
	for key, says := range map[string]string{
		api.AnnotationBypass: "without its cleanup", api.AnnotationBypassBy: "without its cleanup", api.AnnotationBypassReason: "without its cleanup", api.AnnotationBypassUntil: "without its cleanup",
		api.AnnotationBreakGlass: "annotations of the delete guard", api.AnnotationBreakGlassUntil: "annotations of the delete guard",
		api.AnnotationDeletionRequestedBy: "annotations of the delete guard", api.AnnotationDeletionRequestedAt: "annotations of the delete guard",
	} {
		for what, err := range map[string]error{
			"an editor":                    annotate(t, f.as("ed", "editors"), "worker", key, "true"),
			"an editor, by the status":     annotate(t, f.as("ed", "editors"), "worker", key, "true", "status"),
			"a kubelet":                    annotate(t, f.kubelet("worker"), "worker", key, "true"),
			"a kubelet, by the status":     annotate(t, f.kubelet("worker"), "worker", key, "true", "status"),
			"who may write the status":     annotate(t, reporter, "worker", key, "true", "status"),
			"a kubelet that registers":     f.register(f.kubelet("new"), key),
			"an editor who creates a node": f.register(f.as("ed", "editors"), key),
		} {
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), `the verb "bypass" on nodes`) {
				t.Errorf("%s: %s is answered %v", key, what, err)
			}
		}
		if err := f.register(f.admin, key); err != nil {
			t.Errorf("%s: who may bypass creates a node: %v", key, err)
		}
	}
	for _, key := range requests {
		if err := f.register(f.kubelet("new"), key); !apierrors.IsForbidden(err) {
			t.Errorf("%s: a kubelet that registers is answered %v", key, err)
		}
		if err := f.register(f.as("ed", "editors"), key); err != nil {
			t.Errorf("%s: an editor who creates a node: %v", key, err)
		}
	}
}

// register creates a Node that is annotated, without storing it.
func (f *fixture) register(client kubernetes.Interface, key string) error {
	node := cluster.MakeNode("new", nil)
	node.Annotations[key] = "true"
	if key == api.AnnotationBypass {
		node.Annotations[api.AnnotationBypassBy] = nameOf(f.T, client)
	}
	_, err := client.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// The audit log names the user and the kind of each denied attempt.
func TestAuditLogNamesTheDeniedUser(t *testing.T) {
	f := setUp(t)
	node := f.node("worker")
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	for name, attempt := range attempts {
		for who, client := range map[string]kubernetes.Interface{"its kubelet": f.kubelet("worker"), "an editor": f.as("ed", "editors")} {
			if err := attempt(t, client, node); !apierrors.IsForbidden(err) {
				t.Errorf("%s, %s, is answered %v", who, name, err)
			}
		}
	}
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]int{}
	for _, event := range events {
		if event.Resource == "nodes" && event.Name == "worker" && event.Stage == "ResponseComplete" && event.Verb != "get" {
			refused[fmt.Sprintf("%s %s %s: %d", event.User, event.Verb, strings.TrimSuffix("nodes/"+event.Subresource, "/"), event.Code)]++
		}
	}
	for _, user := range []string{"system:node:worker", "ed"} {
		// The finalizer and the bypass by patch of each, and the update of each.
		for what, times := range map[string]int{"patch nodes": 2, "patch nodes/status": 2, "update nodes": 1, "update nodes/status": 1} {
			if key := user + " " + what + ": 403"; refused[key] != times {
				t.Errorf("%s is there %d times, not %d", key, refused[key], times)
			}
			delete(refused, user+" "+what+": 403")
		}
	}
	if len(refused) > 0 {
		t.Errorf("there is also %v", refused)
	}
}
