package rights

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
)

const (
	rbac      = "rbac.authorization.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// ToInstall are the rights without which an install cannot be put on a cluster, brought up
// to date, and rid of what a newer version has no more. What gives the agent its rights
// is asked for by MissingToInstall.
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

// MissingToInstall returns those of ToInstall that the caller lacks, and those for giving
// the agent its rights.
func MissingToInstall(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	lacks, err := MissingOfMine(ctx, client, ToInstall(namespace))
	if err != nil {
		return nil, err
	}
	more, err := missingToGrant(ctx, client, namespace)
	return append(lacks, more...), err
}

// missingToGrant: a user who may escalate and bind may give the agent its rights, and so may
// a user who has all of these. The API server applies the same rule.
func missingToGrant(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	lacks, err := MissingOfMine(ctx, client, []Right{
		{Verb: "escalate", Group: rbac, Resource: "clusterroles"}, {Verb: "bind", Group: rbac, Resource: "clusterroles"},
		{Verb: "escalate", Group: rbac, Resource: "roles", Namespace: namespace}, {Verb: "bind", Group: rbac, Resource: "roles", Namespace: namespace},
		{Verb: "escalate", Group: rbac, Resource: "roles", Namespace: metav1.NamespaceDefault}, {Verb: "bind", Group: rbac, Resource: "roles", Namespace: metav1.NamespaceDefault},
	})
	if err != nil || len(lacks) == 0 {
		return nil, err
	}
	agents, err := OfAgent(ctx, namespace)
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
