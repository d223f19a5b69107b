package check

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

// namespaceThere fails for a namespace that terminates: nothing can be created in it, neither an
// install nor the record of a cleanup.
func namespaceThere(ctx context.Context, s *subject) result {
	namespace, err := s.client.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return pass(s.namespace + " does not exist yet")
	case err != nil:
		return skip(err)
	case namespace.DeletionTimestamp != nil:
		blocker := api.NamespaceBlockerOf(namespace.Status.Conditions)
		return failed(strings.TrimSuffix(fmt.Sprintf("%s is being deleted: %s", s.namespace, blocker.Message), ": "), command.Unblock(s.namespace, blocker))
	}
	return pass(s.namespace)
}
