package cluster

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// RESTConfigWith returns the config of a new user that has these rights, by namespace, and no others. Those by "" are
// rights in the cluster. The API server follows the roles with a delay.
func (c *Cluster) RESTConfigWith(ctx context.Context, user string, grants map[string][]rbacv1.PolicyRule) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("granting rights to user %s: %w", user, err)
	}
	for namespace, rules := range grants {
		meta := metav1.ObjectMeta{Name: user}
		subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
		if namespace == "" {
			if _, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); err != nil {
				return nil, fmt.Errorf("granting rights to user %s: %w", user, err)
			}
			binding := &rbacv1.ClusterRoleBinding{
				ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user}, Subjects: subjects,
			}
			if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
				return nil, fmt.Errorf("granting rights to user %s: %w", user, err)
			}
			continue
		}
		if _, err := client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("granting rights to user %s: %w", user, err)
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects:   subjects,
		}
		if _, err := client.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("granting rights to user %s: %w", user, err)
		}
	}
	return c.RESTConfigFor(user), nil
}
