// Package rights asks the API server which rights a user has.
package rights

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// Right is one thing that a user may do.
type Right = access.Right

// OfAgent are the rights that the agent needs with every config.
func OfAgent(ctx context.Context, namespace string) ([]Right, error) {
	return ofRoles(ctx, namespace, api.Agent, api.AgentEvents)
}

// ofRoles are the rights of the named roles of the default install.
func ofRoles(ctx context.Context, namespace string, names ...string) ([]Right, error) {
	objects, err := install.Render(ctx, install.Options{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("listing the rights of the agent: %w", err)
	}
	var rights []Right
	for _, object := range objects {
		if !slices.Contains(names, object.GetName()) || object.GetKind() != "ClusterRole" && object.GetKind() != "Role" {
			continue
		}
		var role rbacv1.ClusterRole // A Role has the same rules.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			return nil, fmt.Errorf("listing the rights of the agent: %w", err)
		}
		for _, rule := range role.Rules {
			rights = append(rights, access.Of(rule, object.GetNamespace())...)
		}
	}
	return rights, nil
}

// MissingOfAgent returns the rights of OfAgent that the agent's service account lacks. The caller
// needs the right to create subjectaccessreviews.
func MissingOfAgent(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	all, err := OfAgent(ctx, namespace)
	if err != nil {
		return nil, err
	}
	return access.Missing(ctx, all, access.ServiceAccount(client, namespace, api.Agent))
}

// MissingOfConfig returns the rights that a config needs and that the agent's service account lacks. To
// ask needs the right to create subjectaccessreviews.
func MissingOfConfig(ctx context.Context, client kubernetes.Interface, namespace string, settings *config.Config) ([]access.Lack, error) {
	return access.MissingOfConfig(ctx, settings, access.ServiceAccount(client, namespace, api.Agent))
}

// MissingOfSteps returns the rights that the steps need and that the agent's service account
// lacks. To ask needs the right to create subjectaccessreviews.
func MissingOfSteps(ctx context.Context, client kubernetes.Interface, namespace string, steps []config.Step) ([]access.Lack, error) {
	return access.MissingOfPlugins(ctx, steps, nil, access.ServiceAccount(client, namespace, api.Agent))
}

// MissingOfMine returns the rights that the caller lacks.
func MissingOfMine(ctx context.Context, client kubernetes.Interface, wanted []Right) ([]Right, error) {
	return access.Missing(ctx, wanted, access.Self(client))
}

// ToOperate are the rights to control cleanups. Requests are annotations on Nodes, a bypass needs
// its own verb, and preflight sets an annotation on the agent's status. A bypass without an agent
// writes a run record and an Event.
func ToOperate(namespace string) []Right {
	return []Right{
		{Verb: "get", Resource: "nodes"}, {Verb: "patch", Resource: "nodes"}, {Verb: "bypass", Resource: "nodes"},
		{Verb: "patch", Resource: "configmaps", Name: api.StatusName, Namespace: namespace},
		{Verb: "create", Resource: "configmaps", Namespace: namespace}, {Verb: "update", Resource: "configmaps", Namespace: namespace},
		{Verb: "create", Resource: "events", Namespace: metav1.NamespaceDefault},
	}
}
