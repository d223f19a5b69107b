// Package access compares the rights that a user needs with the rights that the API server grants.
// The agent checks its own rights. The CLI checks the rights of the agent or of the operator.
package access

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Right is one verb on one resource.
type Right = authorizationv1.ResourceAttributes

// Describe writes a right as RBAC does: "create pods/eviction".
func Describe(right Right) string {
	resource := resourceOf(right)
	if right.Group != "" {
		resource += "." + right.Group
	}
	if right.Name != "" {
		resource += "/" + right.Name
	}
	if right.Namespace != "" {
		resource += " in namespace " + right.Namespace
	}
	return right.Verb + " " + resource
}

// DescribeAll describes rights in one line.
func DescribeAll(rights []Right) string {
	var names []string
	for _, right := range rights {
		names = append(names, Describe(right))
	}
	return strings.Join(names, ", ")
}

// resourceOf returns the resource as a rule names it: "pods/eviction".
func resourceOf(right Right) string {
	if right.Subresource == "" {
		return right.Resource
	}
	return right.Resource + "/" + right.Subresource
}

// Of returns the rights that a rule grants, in a namespace or, if that is empty, everywhere.
func Of(rule rbacv1.PolicyRule, namespace string) []Right {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var rights []Right
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, subresource, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					rights = append(rights, Right{Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name, Namespace: namespace})
				}
			}
		}
	}
	return rights
}

// Ask returns whether a user has a right.
type Ask func(ctx context.Context, right Right) (allowed bool, err error)

// Self asks for the rights of the client's own user.
func Self(client kubernetes.Interface) Ask {
	return func(ctx context.Context, right Right) (bool, error) {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("checking your rights: %w", err)
		}
		return review.Status.Allowed, nil
	}
}

// ServiceAccount asks for the rights of a service account. To ask needs the right to create
// subjectaccessreviews.
func ServiceAccount(client kubernetes.Interface, namespace, name string) Ask {
	return func(ctx context.Context, right Right) (bool, error) {
		review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               fmt.Sprintf("system:serviceaccount:%s:%s", namespace, name),
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &right,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("asking for the rights of the agent: %w", err)
		}
		return review.Status.Allowed, nil
	}
}

// concurrent is the number of reviews in flight.
const concurrent = 8

// Missing returns the rights that are not allowed, in the given order.
func Missing(ctx context.Context, rights []Right, ask Ask) ([]Right, error) {
	lacks := make([]bool, len(rights))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrent)
	for i, right := range rights {
		group.Go(func() error {
			allowed, err := ask(ctx, right)
			lacks[i] = !allowed
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Right
	for i, right := range rights {
		if lacks[i] {
			missing = append(missing, right)
		}
	}
	return missing, nil
}
