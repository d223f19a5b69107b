// Package rights asks the API server who may do what.
package rights

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Right is one thing that somebody may do.
type Right = authorizationv1.ResourceAttributes

// Describe writes a right as RBAC does: "create pods/eviction".
func Describe(right Right) string {
	resource := right.Resource
	if right.Subresource != "" {
		resource += "/" + right.Subresource
	}
	if right.Group != "" {
		resource += "." + right.Group
	}
	if right.Namespace != "" {
		resource += " in namespace " + right.Namespace
	}
	return right.Verb + " " + resource
}

// OfAgent are the rights without which the agent cannot do its work.
func OfAgent(namespace string) []Right {
	return []Right{
		{Verb: "list", Resource: "nodes"}, {Verb: "watch", Resource: "nodes"}, {Verb: "patch", Resource: "nodes"},
		{Verb: "patch", Resource: "nodes", Subresource: "status"},
		{Verb: "list", Resource: "pods"}, {Verb: "create", Resource: "pods", Subresource: "eviction"},
		{Verb: "create", Resource: "events"},
		{Verb: "update", Resource: "configmaps", Namespace: namespace}, {Verb: "create", Resource: "configmaps", Namespace: namespace},
		{Verb: "get", Resource: "secrets", Namespace: namespace},
		{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: api.Agent, Namespace: namespace},
	}
}

// MissingOfAgent returns those of OfAgent that the agent's service account lacks.
// To ask needs the right to create subjectaccessreviews.
func MissingOfAgent(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	var missing []Right
	for _, right := range OfAgent(namespace) {
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               fmt.Sprintf("system:serviceaccount:%s:%s", namespace, api.Agent),
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &right,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking for the rights of the agent: %w", err)
		}
		if !answer.Status.Allowed {
			missing = append(missing, right)
		}
	}
	return missing, nil
}

// MissingOfMine returns those of the rights that the caller lacks.
func MissingOfMine(ctx context.Context, client kubernetes.Interface, wanted []Right) ([]Right, error) {
	var missing []Right
	for _, right := range wanted {
		answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking for your rights: %w", err)
		}
		if !answer.Status.Allowed {
			missing = append(missing, right)
		}
	}
	return missing, nil
}

// ToInstall are the rights without which an install cannot be put on a cluster.
// Whoever has them may give the agent its own rights: by escalate and bind, or
// by having these rights, which the API server checks as it applies.
func ToInstall(namespace string) []Right {
	const rbac, admission = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
	return []Right{
		{Verb: "create", Resource: "namespaces"}, {Verb: "patch", Resource: "namespaces"},
		{Verb: "create", Resource: "serviceaccounts", Namespace: namespace}, {Verb: "patch", Resource: "configmaps", Namespace: namespace},
		{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: namespace},
		{Verb: "create", Group: rbac, Resource: "clusterroles"}, {Verb: "patch", Group: rbac, Resource: "clusterroles"},
		{Verb: "create", Group: rbac, Resource: "clusterrolebindings"}, {Verb: "patch", Group: rbac, Resource: "clusterrolebindings"},
		{Verb: "create", Group: admission, Resource: "mutatingwebhookconfigurations"}, {Verb: "patch", Group: admission, Resource: "mutatingwebhookconfigurations"},
		{Verb: "create", Group: admission, Resource: "validatingwebhookconfigurations"}, {Verb: "patch", Group: admission, Resource: "validatingwebhookconfigurations"},
		{Verb: "patch", Group: "flowcontrol.apiserver.k8s.io", Resource: "flowschemas"},
	}
}

// ToOperate are the rights for acting on cleanups.
func ToOperate() []Right {
	return []Right{{Verb: "get", Resource: "nodes"}, {Verb: "patch", Resource: "nodes"}}
}
