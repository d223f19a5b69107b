package rights

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const (
	rbac      = "rbac.authorization.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// ToInstall are the rights to install, to upgrade, and to prune objects that a newer version no
// longer has. MissingToInstall adds the rights to grant the agent its rights.
func ToInstall(namespace string) []Right {
	rights := []Right{{Verb: "create", Resource: "namespaces"}, {Verb: "get", Resource: "namespaces"}, {Verb: "patch", Resource: "namespaces"}}
	for _, kind := range []struct{ group, resource, namespace string }{
		{"", "serviceaccounts", namespace}, {"", "configmaps", namespace}, {"", "services", namespace}, {"", "resourcequotas", namespace},
		{"apps", "deployments", namespace}, {"policy", "poddisruptionbudgets", namespace}, {rbac, "roles", namespace}, {rbac, "rolebindings", namespace},
		{rbac, "roles", metav1.NamespaceDefault}, {rbac, "rolebindings", metav1.NamespaceDefault},
		{rbac, "clusterroles", ""}, {rbac, "clusterrolebindings", ""}, {"flowcontrol.apiserver.k8s.io", "flowschemas", ""},
		{admission, "mutatingwebhookconfigurations", ""}, {admission, "validatingwebhookconfigurations", ""},
		{admission, "mutatingadmissionpolicies", ""}, {admission, "mutatingadmissionpolicybindings", ""},
		{admission, "validatingadmissionpolicies", ""}, {admission, "validatingadmissionpolicybindings", ""},
	} {
		for _, verb := range []string{"create", "get", "patch", "delete"} {
			rights = append(rights, Right{Verb: verb, Group: kind.group, Resource: kind.resource, Namespace: kind.namespace})
		}
	}
	return rights
}

// MissingToInstall returns the rights of ToInstall that the caller lacks, and the missing rights
// to grant the agent its rights.
func MissingToInstall(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	lacks, err := MissingOfMine(ctx, client, ToInstall(namespace))
	if err != nil {
		return nil, err
	}
	more, err := missingToGrant(ctx, client, namespace)
	return append(lacks, more...), err
}

// missingToGrant returns the rights that the caller lacks to grant the agent its rights. A user
// with the verbs escalate and bind needs no others, and neither does a user who has all of the
// agent's rights. The API server applies the same rule.
func missingToGrant(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	lacks, err := MissingOfMine(ctx, client, []Right{
		{Verb: "escalate", Group: rbac, Resource: "clusterroles"}, {Verb: "bind", Group: rbac, Resource: "clusterroles"},
		{Verb: "escalate", Group: rbac, Resource: "roles", Namespace: namespace}, {Verb: "bind", Group: rbac, Resource: "roles", Namespace: namespace},
		{Verb: "escalate", Group: rbac, Resource: "roles", Namespace: metav1.NamespaceDefault}, {Verb: "bind", Group: rbac, Resource: "roles", Namespace: metav1.NamespaceDefault},
	})
	if err != nil || len(lacks) == 0 {
		return nil, err
	}
	agents, err := ofRoles(ctx, namespace, api.Agent, api.AgentEvents, api.AgentSteps)
	if err != nil {
		return nil, err
	}
	if not, err := MissingOfMine(ctx, client, agents); err != nil || len(not) == 0 {
		return nil, err
	}
	return lacks, nil
}

// Some writes the first few of rights, and how many more there are.
func Some(rights []Right) string {
	const few = 8
	var names []string
	for _, right := range rights[:min(few, len(rights))] {
		names = append(names, access.Describe(right))
	}
	if more := len(rights) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
