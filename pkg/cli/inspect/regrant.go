package inspect

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Regrant returns the command that gives the agent the rights of an install again. If another
// client has changed its roles, an install without --force-conflicts is refused.
func Regrant(ctx context.Context, client kubernetes.Interface, namespace string, agent printer.Agent) string {
	return regrant(roles(ctx, client, namespace), agent)
}

// regrant is Regrant for the roles and bindings that exist.
func regrant(existing []metav1.Object, agent printer.Agent) string {
	var flags []string
	for _, role := range existing {
		if upgrade := install.HelmUpgrade(role); upgrade != "" {
			return upgrade
		}
		if flags == nil && slices.ContainsFunc(role.GetManagedFields(), changesRights) {
			flags = []string{"--force-conflicts"}
		}
	}
	return Reinstall(agent, flags...)
}

// roles returns the roles and bindings of the agent that exist and that the caller may read.
func roles(ctx context.Context, client kubernetes.Interface, namespace string) []metav1.Object {
	var found []metav1.Object
	add := func(object metav1.Object, err error) {
		if err == nil {
			found = append(found, object)
		}
	}
	for _, name := range []string{api.Agent, api.AgentSteps} {
		role, err := client.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		add(role, err)
		binding, err := client.RbacV1().ClusterRoleBindings().Get(ctx, name, metav1.GetOptions{})
		add(binding, err)
	}
	namespaced := []struct{ namespace, name string }{{namespace, api.Agent}, {metav1.NamespaceDefault, api.AgentEvents}}
	if steps, err := install.StepNamespaces(ctx, client, namespace); err == nil {
		for _, one := range steps {
			namespaced = append(namespaced, struct{ namespace, name string }{one, api.AgentSteps})
		}
	}
	for _, one := range namespaced {
		role, err := client.RbacV1().Roles(one.namespace).Get(ctx, one.name, metav1.GetOptions{})
		add(role, err)
		binding, err := client.RbacV1().RoleBindings(one.namespace).Get(ctx, one.name, metav1.GetOptions{})
		add(binding, err)
	}
	return found
}

// changesRights reports whether a client other than an install owns fields that grant rights.
func changesRights(entry metav1.ManagedFieldsEntry) bool {
	if entry.Manager == api.FieldManager || entry.FieldsV1 == nil {
		return false
	}
	owned := string(entry.FieldsV1.Raw)
	return strings.Contains(owned, `"f:rules"`) || strings.Contains(owned, `"f:subjects"`)
}
