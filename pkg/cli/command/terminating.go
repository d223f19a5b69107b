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
	return fmt.Sprintf("An API does not answer, so Kubernetes cannot list what remains in namespace %s. Fix the service behind the API, or delete the APIService if you do not need it: kubectl get apiservice %s",
		namespace, strings.Join(blocker.APIServices, " "))
}
