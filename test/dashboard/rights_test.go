package dashboard_test

import (
	"net/http"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The role viewer suffices for every page.
func TestViewer(t *testing.T) {
	address, _ := service(t, http.StatusForbidden)
	f := installed(t, steps(address))
	viewer := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "viewer", APIGroup: rbacv1.GroupName}}
	everywhere := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer-" + f.namespace}, Subjects: viewer,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "nodecleanup-viewer"},
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(t.Context(), everywhere, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	here := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, Subjects: viewer,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "nodecleanup-viewer"},
	}
	if _, err := f.client.RbacV1().RoleBindings(f.namespace).Create(t.Context(), here, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.node("worker-1", nil)
	f.deleteNode("worker-1")
	f.serve(kubernetes.NewForConfigOrDie(shared.RESTConfigFor("viewer", "system:authenticated")))
	f.open()
	f.awaitText("One node needs an operator")
	f.awaitText("kubectl nodecleanup retry worker-1")
	f.goTo("nodes")
	f.awaitText("1 of 1 nodes")
	f.goTo("history")
	f.awaitText("1 of 1 cleanups")
	f.goTo("node/worker-1")
	f.awaitText("Attempts")
	f.wantText(false, "forbidden")
	f.picture("node-viewer")
	f.wantNoComplaint()
}

// A user without rights is shown what is missing, and the page works as soon as it is given.
func TestUserWithoutRights(t *testing.T) {
	address, _ := service(t, http.StatusOK)
	f := installed(t, steps(address))
	f.serve(kubernetes.NewForConfigOrDie(shared.RESTConfigFor("stranger", "system:authenticated")))
	f.open()
	f.awaitText(`User "stranger" cannot list resource`)
	f.picture("overview-without-rights")
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "stranger-" + f.namespace}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "stranger", APIGroup: rbacv1.GroupName}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitText("Health")
	f.wantText(false, "stranger\" cannot")
}
