package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Namespace returns the agent's namespace: the one that --namespace gives, or
// the one that is found, or api.Namespace when there is none to be found.
func (c *Cluster) Namespace(ctx context.Context, client kubernetes.Interface) (string, error) {
	if given := c.GivenNamespace(); given != "" {
		return given, nil
	}
	found, err := FindNamespaces(ctx, client)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return api.Namespace, nil
	case 1:
		return found[0], nil
	}
	return "", &exit.Error{
		Code: exit.Usage,
		Err:  fmt.Errorf("looking for the agent's namespace: there are %d installs, in %s", len(found), strings.Join(found, ", ")),
		Next: "Select one with --namespace.",
	}
}

// CheckNamespace rejects a namespace other than that of the existing installation, because both would
// share the cluster-scoped objects. Doing names the attempted action.
func CheckNamespace(ctx context.Context, client kubernetes.Interface, namespace, doing, next string) error {
	found, err := FindNamespaces(ctx, client)
	if err != nil || len(found) == 0 || slices.Contains(found, namespace) {
		return err
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("%s namespace %s: nodecleanup is already installed in namespace %s; only one installation per cluster is supported", doing, namespace, strings.Join(found, ", ")),
		Next: next,
	}
}

// FindNamespaces returns the namespaces of installations, sorted. It reads only objects that a user with
// namespace-scoped permissions cannot change: the subjects of the agent's ClusterRoleBinding, the Service
// of the webhook, or, after an interrupted uninstall, the label of the namespace. A user who may read none
// of these gets none, and no error.
func FindNamespaces(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	for _, look := range []func(context.Context, kubernetes.Interface) ([]string, error){boundNamespaces, webhookNamespaces, labelledNamespaces} {
		found, err := look(ctx, client)
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("looking for the agent's namespace: %w", err)
		}
		if len(found) > 0 {
			slices.Sort(found)
			return slices.Compact(found), nil
		}
	}
	return nil, nil
}

func boundNamespaces(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	binding, err := client.RbacV1().ClusterRoleBindings().Get(ctx, api.Agent, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, subject := range binding.Subjects {
		if subject.Kind == rbacv1.ServiceAccountKind && subject.Name == api.Agent {
			found = append(found, subject.Namespace)
		}
	}
	return found, nil
}

func webhookNamespaces(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, webhook := range configuration.Webhooks {
		if webhook.ClientConfig.Service != nil {
			found = append(found, webhook.ClientConfig.Service.Namespace)
		}
	}
	return found, nil
}

func labelledNamespaces(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labels.Set{api.LabelName: api.LabelNameValue}.String()})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, namespace := range namespaces.Items {
		found = append(found, namespace.Name)
	}
	return found, nil
}
