// Package rights asks the API server who may do what.
package rights

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
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
	if right.Name != "" {
		resource += "/" + right.Name
	}
	if right.Namespace != "" {
		resource += " in namespace " + right.Namespace
	}
	return right.Verb + " " + resource
}

// OfAgent are the rights that an install gives the agent, which uses every one of them.
func OfAgent(ctx context.Context, namespace string) ([]Right, error) {
	objects, err := install.Render(ctx, install.Options{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("listing the rights of the agent: %w", err)
	}
	var rights []Right
	for _, object := range objects {
		if !slices.Contains([]string{api.Agent, api.AgentEvents}, object.GetName()) || object.GetKind() != "ClusterRole" && object.GetKind() != "Role" {
			continue
		}
		var role rbacv1.ClusterRole // A Role has the same rules.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			return nil, fmt.Errorf("listing the rights of the agent: %w", err)
		}
		for _, rule := range role.Rules {
			rights = append(rights, of(rule, object.GetNamespace())...)
		}
	}
	return rights, nil
}

func of(rule rbacv1.PolicyRule, namespace string) []Right {
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

// asked is how many reviews are asked for at a time.
const asked = 8

// MissingOfAgent returns those of OfAgent that the agent's service account lacks.
// To ask needs the right to create subjectaccessreviews.
func MissingOfAgent(ctx context.Context, client kubernetes.Interface, namespace string) ([]Right, error) {
	all, err := OfAgent(ctx, namespace)
	if err != nil {
		return nil, err
	}
	return missing(ctx, all, func(ctx context.Context, right Right) (bool, error) {
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               fmt.Sprintf("system:serviceaccount:%s:%s", namespace, api.Agent),
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &right,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("asking for the rights of the agent: %w", err)
		}
		return answer.Status.Allowed, nil
	})
}

// MissingOfMine returns those of the rights that the caller lacks.
func MissingOfMine(ctx context.Context, client kubernetes.Interface, wanted []Right) ([]Right, error) {
	return missing(ctx, wanted, func(ctx context.Context, right Right) (bool, error) {
		answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("asking for your rights: %w", err)
		}
		return answer.Status.Allowed, nil
	})
}

// missing returns those of the rights that are not allowed, in their order.
func missing(ctx context.Context, all []Right, allowed func(context.Context, Right) (bool, error)) ([]Right, error) {
	lacks := make([]bool, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asked)
	for i, right := range all {
		group.Go(func() error {
			may, err := allowed(ctx, right)
			lacks[i] = !may
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Right
	for i, right := range all {
		if lacks[i] {
			missing = append(missing, right)
		}
	}
	return missing, nil
}

// ToOperate are the rights for acting on cleanups: requests are annotations on Nodes, a
// bypass needs a verb of its own, and preflight asks by an annotation on the agent's status.
func ToOperate(namespace string) []Right {
	return []Right{
		{Verb: "get", Resource: "nodes"}, {Verb: "patch", Resource: "nodes"}, {Verb: "bypass", Resource: "nodes"},
		{Verb: "patch", Resource: "configmaps", Name: api.StatusName, Namespace: namespace},
	}
}
