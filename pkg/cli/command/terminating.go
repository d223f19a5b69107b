package command

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Unblock says how to unblock the deletion of a namespace.
func Unblock(namespace string, blocker api.NamespaceBlocker) string {
	if len(blocker.APIServices) == 0 {
		return "See what blocks the deletion of the namespace: kubectl get namespace " + namespace + " -o yaml"
	}
	return fmt.Sprintf("An API does not answer, so Kubernetes cannot tell what is left in namespace %s: fix the service behind it, or delete it if it is not needed: kubectl get apiservice %s",
		namespace, strings.Join(blocker.APIServices, " "))
}
