package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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
		Next: "Say which one you mean with --namespace.",
	}
}

// FindNamespaces returns the namespaces in which there is an install, sorted: by
// the agent's ServiceAccount, or, where an uninstall was interrupted, by the
// namespace itself. Somebody who may not list these gets none, and no error.
func FindNamespaces(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	ours := labels.Set{api.LabelName: api.LabelNameValue}.String()
	accounts, err := client.CoreV1().ServiceAccounts(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		LabelSelector: ours,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", api.Agent).String(),
	})
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("looking for the agent's namespace: %w", err)
	}
	var found []string
	if err == nil {
		for _, account := range accounts.Items {
			found = append(found, account.Namespace)
		}
	}
	if len(found) == 0 {
		namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: ours})
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("looking for the agent's namespace: %w", err)
		}
		if err == nil {
			for _, namespace := range namespaces.Items {
				found = append(found, namespace.Name)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}
