// Package admission_test tests the shipped policies and roles, which the API server applies
// without an agent. The tests create their own users.
package admission_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "admission"}, func(c *cluster.Cluster) { shared = c }))
}

// fixture is one install, without an agent.
type fixture struct {
	*testing.T
	admin kubernetes.Interface
}

func setUp(t *testing.T) *fixture {
	f := &fixture{t, kubernetes.NewForConfigOrDie(shared.RESTConfig())}
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}).Apply(t.Context(), install.Options{
		AgentURL: "https://127.0.0.1:1", // No agent serves the webhook.
	}); err != nil {
		t.Fatalf("installing: %v", err)
	}
	f.bind("editors", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"get", "list", "create", "patch", "update"}})
	f.bindTo("operators", api.Operator)
	f.bindTo("viewers", api.Viewer)
	probe := f.node("probe")
	f.eventually("the API server enforces the policy", func(ctx context.Context) (bool, error) {
		_, err := f.as("ed", "editors").CoreV1().Nodes().Patch(ctx, probe.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), nil
	})
	return f
}

func (f *fixture) bind(group string, rules ...rbacv1.PolicyRule) {
	f.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-" + group}, Rules: rules}
	if _, err := f.admin.RbacV1().ClusterRoles().Create(f.Context(), role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	f.bindTo(group, role.Name)
}

func (f *fixture) bindTo(group, role string) {
	f.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-" + group},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group}},
	}
	if _, err := f.admin.RbacV1().ClusterRoleBindings().Create(f.Context(), binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
}

func (f *fixture) as(user string, groups ...string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(shared.RESTConfigFor(user, groups...))
}

// nameOf returns the name of a client's user.
func nameOf(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo.Username
}

// kubelet returns the credentials of the node's own kubelet.
func (f *fixture) kubelet(node string) kubernetes.Interface {
	return f.as("system:node:"+node, "system:nodes")
}

func (f *fixture) agent() kubernetes.Interface {
	return f.as(fmt.Sprintf("system:serviceaccount:%s:%s", api.Namespace, api.Agent), "system:serviceaccounts", "system:serviceaccounts:"+api.Namespace)
}

// node creates a protected Node, which is deleted with the test.
func (f *fixture) node(name string) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode(name, nil)
	node.Finalizers = []string{"example.com/other", api.Finalizer}
	node, err := f.admin.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx := context.WithoutCancel(f.Context())
		if _, err := f.admin.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Error(err)
		}
		if err := f.admin.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Error(err)
		}
	})
	return node
}

func (f *fixture) eventually(what string, condition wait.ConditionWithContextFunc) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), 50*time.Millisecond, testTimeout, true, condition); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}
