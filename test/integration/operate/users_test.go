package operate_test

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func contextOf(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

func rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// userWith returns the kubeconfig of a user with only these rights, in all namespaces.
func (f *fixture) userWith(name string, rules ...rbacv1.PolicyRule) string {
	f.Helper()
	name += "-" + f.namespace
	kubeconfig, err := shared.KubeconfigFor(name)
	if err != nil {
		f.Fatal(err)
	}
	if rules == nil {
		return kubeconfig
	}
	ctx := f.Context()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := f.client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := f.client.RbacV1().ClusterRoleBindings().Delete(contextOf(f.T), name, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
		if err := f.client.RbacV1().ClusterRoles().Delete(contextOf(f.T), name, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	last := rules[len(rules)-1]
	f.awaitRight(name, authorizationv1.ResourceAttributes{Group: last.APIGroups[0], Resource: last.Resources[0], Verb: last.Verbs[0]})
	return kubeconfig
}

// awaitRight waits until the API server's authorizer, which follows roles and bindings by
// watches, knows a right.
func (f *fixture) awaitRight(user string, right authorizationv1.ResourceAttributes) {
	f.Helper()
	f.eventually(fmt.Sprintf("%s may %s %s", user, right.Verb, right.Resource), func(ctx context.Context) (bool, error) {
		review, err := f.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		return err == nil && review.Status.Allowed, err
	})
}

// edit replaces the config, as kubectl edit does.
func (f *fixture) edit(config string) {
	f.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.ConfigName, Labels: map[string]string{api.LabelName: api.LabelNameValue}}, Data: map[string]string{api.ConfigKey: config}}
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Update(f.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
}
