package command

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Release says how a namespace that terminates gets free of what holds it.
func Release(namespace string, held cluster.Held) string {
	if len(held.APIServices) == 0 {
		return "See what holds the namespace: kubectl get namespace " + namespace + " -o yaml"
	}
	return fmt.Sprintf("An API does not answer, so Kubernetes cannot tell what is left in namespace %s: fix the service behind it, or delete it if nobody needs it: kubectl get apiservice %s",
		namespace, strings.Join(held.APIServices, " "))
}
