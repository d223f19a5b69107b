package operate_test

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// userInRole returns the kubeconfig of a user with one of the installed roles, in the cluster and in the
// agent's namespace.
func (f *fixture) userInRole(role string) string {
	f.Helper()
	name := role + "-" + f.namespace
	kubeconfig, err := shared.KubeconfigFor(name)
	if err != nil {
		f.Fatal(err)
	}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}
	everywhere := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(f.Context(), everywhere, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := f.client.RbacV1().ClusterRoleBindings().Delete(contextOf(f.T), name, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	here := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
	}
	if _, err := f.client.RbacV1().RoleBindings(f.namespace).Create(f.Context(), here, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.awaitRight(name, authorizationv1.ResourceAttributes{Resource: "nodes", Verb: "list"})
	f.awaitRight(name, authorizationv1.ResourceAttributes{Group: "apps", Resource: "deployments", Verb: "get", Namespace: f.namespace})
	return kubeconfig
}

func TestViewerCanOnlyRead(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("web", "worker", app("web"))
	viewer := f.userInRole("nodecleanup-viewer")
	look := func(arguments ...string) ran {
		t.Helper()
		return f.runAs(viewer, append(arguments, "-n", f.namespace)...)
	}
	look("status").exits(exit.OK)
	look("nodes", "list").exits(exit.OK).says("worker")
	look("history").exits(exit.OK)
	look("plugins", "status").exits(exit.OK)
	look("check", "--suppress", "agent").exits(exit.OK)
	look("plan", "worker").exits(exit.OK).says("Plan "+f.planOf("worker"), "evict 1 pod, budgets not known", "you are not allowed to evict pods")
	look("diagnose", "worker").exits(exit.OK).says("it is protected")
	look("version").exits(exit.OK).says("Compatible   yes")

	look("retry", "worker").exits(exit.Failure)
	look("preflight").exits(exit.Failure).says("cannot patch")
	look("cleanup", "worker", "--yes").exits(exit.Failure).says("annotating node worker", "cannot patch", "ask a cluster administrator")
	look("bypass", "worker", "--reason", "r", "--yes").exits(exit.Failure).says("cannot patch")
	look("install").exits(exit.Failure).says("you lack rights", "nothing was stored")
	look("uninstall", "--yes").exits(exit.Failure)
	if node := f.read("worker"); len(node.Finalizers) != 1 || node.Annotations[api.AnnotationBypass] != "" || node.Annotations[api.AnnotationCleanupRequestedAt] != "" {
		t.Errorf("the node was changed: %v %v", node.Finalizers, node.Annotations)
	}
}

func TestUnauthorizedUserSeesMissingRight(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.node("worker", nil)
	nobody := f.userWith("nobody")
	for _, arguments := range [][]string{
		{"status"}, {"status", "-w"}, {"nodes", "list"}, {"history"}, {"history", "worker"},
		{"plan", "worker"}, {"plan", "-l", "team=a"}, {"diagnose", "worker"},
		{"preflight"}, {"preflight", "worker"}, {"plugins", "status"}, {"plugins", "test", "drain"},
		{"cleanup", "worker", "--yes"}, {"retry", "worker"}, {"bypass", "worker", "--reason", "r", "--yes"},
	} {
		f.runAs(nobody, append(arguments, "-n", f.namespace)...).exits(exit.Failure).says("forbidden", "Next:", "right")
	}
	for key := range f.read("worker").Annotations {
		if strings.HasPrefix(key, "nodecleanup.io/") {
			t.Errorf("the node was annotated: %s", key)
		}
	}
}

func TestViewerSeesBlockingBudget(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.delete("worker")
	f.awaitState("worker", api.Running)
	for _, role := range []string{"nodecleanup-viewer", "nodecleanup-operator"} {
		f.runAs(f.userInRole(role), "diagnose", "worker", "-n", f.namespace).exits(exit.Unhealthy).
			says("Cause:    1 pod cannot be evicted now: default/cart-0 (budget cart allows 0 disruptions: needs 1 healthy, has 1)")
	}
}

func TestOperatorCanAct(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.node("lost", nil)
	operator := f.userInRole("nodecleanup-operator")
	act := func(arguments ...string) ran {
		t.Helper()
		return f.runAs(operator, append(arguments, "-n", f.namespace)...)
	}
	act("preflight").exits(exit.OK)
	f.pod("web", "worker", app("web"))
	// The operator role cannot evict, so the plan must report the budgets as unknown.
	act("plan", "worker").exits(exit.OK).says("evict 1 pod, budgets not known", "you are not allowed to evict pods")
	act("preflight", "worker").exits(exit.OK).says("Note: you are not allowed to evict pods")
	act("plugins", "test", "drain").exits(exit.OK)
	act("cleanup", "worker", "--yes", "--delete").exits(exit.Blocked).says("nothing was started", `cannot delete resource "nodes"`, "ask a cluster administrator")
	act("cleanup", "worker", "--yes", "--wait").exits(exit.OK).says("cleaned up")
	act("cleanup", "worker", "--yes", "--delete").exits(exit.Failure).says("The deletion of node worker would be refused now", `cannot delete resource "nodes"`)
	act("cleanup", "worker", "--yes", "--delete", "--even-if-blocked").exits(exit.Failure).says("deleting node worker after its cleanup", "kubectl delete node worker")
	act("bypass", "lost", "--reason", "hardware lost", "--yes").exits(exit.OK).says("node/lost marked")
}
