package cli_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// A namespace cannot be deleted while the API server cannot list its content. The operator has to
// fix the unavailable API.
func TestUnavailableAPIOfATerminatingNamespaceIsNamed(t *testing.T) {
	client := admin(t)
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	services := dynamic.NewForConfigOrDie(shared.RESTConfig()).Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	const name = "v1.dead.example.com"
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"group": "dead.example.com", "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100), "insecureSkipTLSVerify": true,
			"service": map[string]any{"name": "nobody", "namespace": "default"},
		},
	}}
	if _, err := services.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dropService := func() {
		if err := services.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	t.Cleanup(dropService)
	// The namespace controller looks at a deleted namespace five seconds later.
	want(t, exit.TimedOut, run(t, shared.Kubeconfig(), "uninstall", "--yes", "--timeout", "6s"))
	namespaces := client.CoreV1().Namespaces()
	await := func(what string, condition func(*corev1.Namespace, error) bool) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			return condition(namespaces.Get(ctx, api.Namespace, metav1.GetOptions{})), nil
		}); err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
	}
	await("the namespace controller says that the discovery failed", func(namespace *corev1.Namespace, err error) bool {
		if err != nil {
			return false
		}
		for _, condition := range namespace.Status.Conditions {
			if condition.Type == corev1.NamespaceDeletionDiscoveryFailure && condition.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
	left := want(t, exit.TimedOut, run(t, shared.Kubeconfig(), "uninstall", "--yes", "--timeout", "5s"))
	wantText(t, left.errOut, "waiting for namespace "+api.Namespace, "kubectl get apiservice "+name)
	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check", "--pre")).out, "✗ namespace", "kubectl get apiservice "+name)
	wantText(t, want(t, exit.Failure, run(t, shared.Kubeconfig(), "install")).errOut, "it is being deleted", "kubectl get apiservice "+name)
	dropService()
	await("the namespace is deleted", func(_ *corev1.Namespace, err error) bool { return apierrors.IsNotFound(err) })
}
