package pods

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Finalizers returns what blocks the deletion of a terminating Pod after its grace period: its
// finalizers, with the remedy. It returns nil if they do not, or not yet.
func Finalizers(pod *corev1.Pod, now time.Time) *api.Blocker {
	// The deletionTimestamp includes the grace period.
	if !Terminating(pod) || len(pod.Finalizers) == 0 || now.Before(pod.DeletionTimestamp.Time) {
		return nil
	}
	names := strings.Join(pod.Finalizers, ", ")
	return &api.Blocker{
		Cause: api.BlockedByFinalizer, Message: "terminating, " + FinalizerHolds + " " + names,
		Remedy: fmt.Sprintf("find out why the owner of finalizer %s does not remove it: kubectl -n %s describe pod %s", names, pod.Namespace, pod.Name) + Or +
			fmt.Sprintf("if the owner no longer exists: kubectl -n %s patch pod %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'", pod.Namespace, pod.Name),
	}
}

// FinalizerHolds begins the names of the finalizers that block the deletion of a Pod.
const FinalizerHolds = "blocked by finalizer"
