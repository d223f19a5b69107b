package diagnose

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// putBack names the controllers that recreate their Pods on the cordoned Node. A Pod that the
// scheduler bound at the moment of the cordon does not count.
func putBack(f *found, _ time.Time) *printer.Cause {
	cordoned := cordon.At(f.node)
	if cordoned.IsZero() || !f.held() || !f.waitsFor(api.DrainPlugin) {
		return nil
	}
	var names, options []string
	seen := map[api.Object]bool{}
	for i := range f.pods {
		pod := &f.pods[i]
		controller, managed := pods.Controller(pod)
		if !managed || seen[controller] || !pods.Movable(pod) || cordon.Stays(pod) || !pod.CreationTimestamp.After(cordoned.Add(time.Second)) {
			continue
		}
		seen[controller] = true
		names = append(names, fmt.Sprintf("%s %s", controller.Kind, controller))
		if len(options) > 0 {
			continue
		}
		kind, edit := strings.ToLower(controller.Kind), "from the Pod template: kubectl -n %s edit %s %s"
		switch {
		case pods.Pinned(pod):
			options = append(options, fmt.Sprintf("remove spec.nodeName "+edit, controller.Namespace, kind, controller.Name))
		case cordon.Tolerated(pod):
			options = append(options, fmt.Sprintf("remove the toleration of the cordon "+edit, controller.Namespace, kind, controller.Name))
		}
		options = append(options, fmt.Sprintf("kubectl -n %s scale %s %s --replicas=0", controller.Namespace, kind, controller.Name), bypass(f))
	}
	if len(names) == 0 {
		return nil
	}
	return cause("pods-put-back", fmt.Sprintf("controllers recreate their Pods on this node, despite its cordon: %s", few(names)), options...)
}
