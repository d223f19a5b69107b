package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// named is how many of many are named.
const named = 3

// volumesPlugin waits for the volumes of pods, which only ended Pods release.
const volumesPlugin = "volumes"

// overdue is how long after its grace period a pod should be deleted. A finalizer blocks the deletion at once.
const overdue = 30 * time.Second

// budget names the Pods of this node that budgets prevent from being evicted now, with the remedy
// of each cause.
func budget(f *found, _ time.Time) *printer.Cause {
	if !f.held() || !f.waitsFor(api.DrainPlugin) {
		return nil
	}
	var held, options []string
	for i := range f.pods {
		pod := &f.pods[i]
		if !pods.Movable(pod) {
			continue
		}
		if blocked := pods.Explain(pod, f.budgets, f.pending); blocked != nil {
			held = append(held, fmt.Sprintf("%s (%s)", pods.Object(pod), blocked.Message))
			options = appendRemedy(options, blocked.Remedy)
		}
	}
	if len(held) == 0 {
		return nil
	}
	return cause("budget-blocking", fmt.Sprintf("%s cannot be evicted now: %s", api.Count(len(held), "pod"), few(held)), append(options, bypass(f))...)
}

// denied names the Pods whose eviction the API server would reject now.
func denied(f *found, _ time.Time) *printer.Cause {
	if len(f.denied) == 0 {
		return nil
	}
	var held, options []string
	for _, effect := range f.denied {
		held = append(held, fmt.Sprintf("%s (%s)", effect.Object, effect.Blocked.Message))
		options = appendRemedy(options, effect.Blocked.Remedy)
	}
	return cause("eviction-denied", fmt.Sprintf("%s cannot be evicted now: %s", api.Count(len(held), "pod"), few(held)), append(options, bypass(f))...)
}

// forbidden is a Pod that an option of the step forbids to evict.
type forbidden struct {
	step   config.Step
	effect cleanup.Effect
}

// notAllowed names the Pods because of which the drain evicts none, with the fix that plan prints.
func notAllowed(f *found, _ time.Time) *printer.Cause {
	if len(f.forbidden) == 0 {
		return nil
	}
	var held, options []string
	for _, one := range f.forbidden {
		held = append(held, fmt.Sprintf("%s (%s)", one.effect.Object, one.effect.Blocked.Message))
		options = appendRemedy(options, preview.Remedy(one.step, one.effect.Object, *one.effect.Blocked))
	}
	return cause("eviction-not-allowed", fmt.Sprintf("step %s evicts no pod, because its options do not allow the eviction of %s: %s", f.forbidden[0].step.Name, api.Count(len(held), "pod"), few(held)),
		append(options, bypass(f))...)
}

// hasForbidden reports whether the rule notAllowed explains why the step fails.
func (f *found) hasForbidden(step string) bool {
	return slices.ContainsFunc(f.forbidden, func(one forbidden) bool { return one.step.Name == step })
}

// evictableAgain reports whether the last attempt of a drain failed because of Pods that its options did not allow to
// evict, and the node has none of them now.
func (f *found) evictableAgain(step api.StepRun) bool {
	return strings.Contains(step.LastError, pods.NotEvictable) && slices.Contains(f.evidence, evictionsRead) && !f.hasForbidden(step.Name) &&
		slices.ContainsFunc(f.planned, func(planned config.Step) bool { return planned.Name == step.Name && planned.Plugin == step.Plugin })
}

// appendRemedy adds each alternative of a remedy, of the first few remedies.
func appendRemedy(options []string, remedy string) []string {
	if remedy == "" || len(options) >= named {
		return options
	}
	for _, option := range strings.Split(remedy, pods.Or) {
		if !slices.Contains(options, option) {
			options = append(options, option)
		}
	}
	return options
}

// terminating names the pods that have exceeded their grace period and that a step waits for.
func terminating(f *found, now time.Time) *printer.Cause {
	if !f.held() || !f.waitsFor(api.DrainPlugin, volumesPlugin) {
		return nil
	}
	var stuck []string
	var first *corev1.Pod
	for _, pod := range f.pods {
		if !pods.Terminating(&pod) || !pods.Movable(&pod) {
			continue
		}
		if late := now.Sub(pod.DeletionTimestamp.Time); late < 0 || late < overdue && len(pod.Finalizers) == 0 {
			continue
		}
		text := fmt.Sprintf("%s/%s for %s", pod.Namespace, pod.Name, printer.Age(now.Sub(pod.DeletionTimestamp.Time)))
		if len(pod.Finalizers) > 0 {
			text += ", " + pods.FinalizerHolds + " " + strings.Join(pod.Finalizers, ", ")
		}
		if first == nil {
			first = pod.DeepCopy()
		}
		stuck = append(stuck, text)
	}
	if len(stuck) == 0 {
		return nil
	}
	options := []string{fmt.Sprintf("kubectl -n %s describe pod %s", first.Namespace, first.Name)}
	if blocked := pods.Finalizers(first, now); blocked != nil {
		options = strings.Split(blocked.Remedy, pods.Or)
	}
	if !api.Ready(f.node) {
		options = append(options, fmt.Sprintf("the node's kubelet does not answer, so its pods do not terminate. If the host is powered off (otherwise the pod may run twice): kubectl -n %s delete pod %s --grace-period=0 --force", first.Namespace, first.Name))
	}
	return cause("pod-terminating", fmt.Sprintf("beyond their grace period: %s: %s", api.Count(len(stuck), "pod"), few(stuck)), append(options, bypass(f))...)
}

// volumes are a cause only when the pods are deleted that may have used them.
func volumes(f *found, _ time.Time) *printer.Cause {
	if len(f.volumes) == 0 || !f.held() {
		return nil
	}
	for i := range f.pods {
		if pods.Movable(&f.pods[i]) {
			return nil
		}
	}
	return cause("volume-attached", fmt.Sprintf("%s still attached, although the pods are deleted: %s", api.Count(len(f.volumes), "volume"), few(f.volumes)),
		"kubectl get volumeattachments", "check the log of the storage driver's controller")
}

func few(items []string) string {
	if len(items) > named {
		return strings.Join(items[:named], ", ") + ", …"
	}
	return strings.Join(items, ", ")
}
