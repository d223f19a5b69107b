package drain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// group are the remaining Pods that one reason blocks, "" for Pods that nothing blocks.
type group struct {
	reason string
	pods   []string
}

const (
	// maxDescription limits the text of describe, in bytes: a run record keeps 1 KiB.
	maxDescription = 800
	// maxReason limits one reason, which may quote a webhook.
	maxReason = 360
	// longGrace is the shortest grace period whose end describe shows.
	longGrace = 5 * time.Minute
)

// describe returns how many Pods remain and why, each reason once, those with a reason first. If
// there is no space for all reasons, it returns their number.
func (d *drain) describe(remaining []*corev1.Pod) string {
	noun := "pods"
	if len(remaining) == 1 {
		noun = "pod"
	}
	description := fmt.Sprintf("%d %s remaining: ", len(remaining), noun)
	groups := d.group(remaining)
	for i, each := range groups {
		text := each.pods[0]
		if more := len(each.pods) - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		if each.reason != "" {
			text += " (" + each.reason + ")"
		}
		if i > 0 {
			text = ", " + text
		}
		if i > 0 && len(description)+len(text) > maxDescription {
			return description + omitted(groups[i:])
		}
		description += text
	}
	return description
}

// omitted counts the Pods and reasons that the description does not show.
func omitted(groups []group) string {
	pods, reasons := 0, 0
	for _, each := range groups {
		pods += len(each.pods)
		if each.reason != "" {
			reasons++
		}
	}
	if reasons == 0 {
		return fmt.Sprintf(", and %d more", pods)
	}
	return fmt.Sprintf(", and %d more for %d other reasons", pods, reasons)
}

// group returns the Pods by reason, blocked ones first, then by name. Budgets of the same name in two
// namespaces are two reasons.
func (d *drain) group(remaining []*corev1.Pod) []group {
	type key struct{ namespace, reason string }
	groups := map[key]*group{}
	for _, pod := range remaining {
		of := key{reason: d.blockedReason(pod)}
		if of.reason != "" {
			of.namespace = pod.Namespace
		}
		if groups[of] == nil {
			groups[of] = &group{reason: of.reason}
		}
		groups[of].pods = append(groups[of].pods, nameOf(pod))
	}
	var sorted []group
	for _, each := range groups {
		slices.Sort(each.pods)
		sorted = append(sorted, *each)
	}
	slices.SortFunc(sorted, func(a, b group) int {
		if (a.reason == "") != (b.reason == "") {
			return cmp.Compare(len(b.reason), len(a.reason))
		}
		return cmp.Compare(a.pods[0], b.pods[0])
	})
	return sorted
}

// blockedReason returns the blocker of a Pod's eviction, or "".
func (d *drain) blockedReason(pod *corev1.Pod) string {
	reason := ""
	if state := d.evictions[pod.UID]; state != nil {
		reason = state.blocked
		if state.byBudget {
			reason += d.budgetRemedy(pod)
		}
	} else if rollout := d.rollouts[pod.UID]; rollout != nil && rollout.waits != "" {
		reason = rollout.waits
	} else if rule, name := d.ruleOf(pod); rule.Action == ruleWait {
		reason = "waiting for it to complete, " + name
	} else {
		reason = d.recreatedBy(pod)
	}
	if pod.DeletionTimestamp != nil {
		grace := time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second
		blocked := pods.Finalizers(pod, d.clock.Now())
		switch {
		case blocked != nil:
			reason = blocked.Message
		case grace >= longGrace:
			reason = fmt.Sprintf("terminating, its grace period of %s ends at %s", grace, pod.DeletionTimestamp.UTC().Format(time.RFC3339))
		}
	}
	return truncate.Bytes(reason, maxReason)
}
