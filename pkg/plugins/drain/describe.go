package drain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// group are pods that are waited for out of one reason, "" for those that go by themselves.
type group struct {
	why  string
	pods []string
}

const (
	// maxSaid bounds what describe says, in bytes: a run record keeps 1 KiB of it.
	maxSaid = 800
	// maxWhy bounds one reason, which may quote what a webhook answers.
	maxWhy = 360
	// longGrace is a grace period whose end describe says.
	longGrace = 5 * time.Minute
)

// describe says how many pods are left and why, each reason once: the one budget that
// blocks is named whatever else is left. Where there are too many reasons, it says how many.
func (d *drain) describe(left []*corev1.Pod) string {
	noun := "pods"
	if len(left) == 1 {
		noun = "pod"
	}
	said := fmt.Sprintf("%d %s remaining: ", len(left), noun)
	groups := d.group(left)
	for i, each := range groups {
		text := each.pods[0]
		if more := len(each.pods) - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		if each.why != "" {
			text += " (" + each.why + ")"
		}
		if i > 0 {
			text = ", " + text
		}
		if i > 0 && len(said)+len(text) > maxSaid {
			return said + remaining(groups[i:])
		}
		said += text
	}
	return said
}

// remaining says what there is no room for.
func remaining(groups []group) string {
	pods, reasons := 0, 0
	for _, each := range groups {
		pods += len(each.pods)
		if each.why != "" {
			reasons++
		}
	}
	if reasons == 0 {
		return fmt.Sprintf(", and %d more", pods)
	}
	return fmt.Sprintf(", and %d more for %d other reasons", pods, reasons)
}

// group returns the pods by reason: first those that something stands in the way of, by
// name. Budgets of one name in two namespaces are two reasons.
func (d *drain) group(left []*corev1.Pod) []group {
	type key struct{ namespace, why string }
	groups := map[key]*group{}
	for _, pod := range left {
		of := key{why: d.why(pod)}
		if of.why != "" {
			of.namespace = pod.Namespace
		}
		if groups[of] == nil {
			groups[of] = &group{why: of.why}
		}
		groups[of].pods = append(groups[of].pods, nameOf(pod))
	}
	var sorted []group
	for _, each := range groups {
		slices.Sort(each.pods)
		sorted = append(sorted, *each)
	}
	slices.SortFunc(sorted, func(a, b group) int {
		if (a.why == "") != (b.why == "") {
			return cmp.Compare(len(b.why), len(a.why))
		}
		return cmp.Compare(a.pods[0], b.pods[0])
	})
	return sorted
}

// why returns what stands in the way of a pod, or "".
func (d *drain) why(pod *corev1.Pod) string {
	why := ""
	if known := d.tries[pod.UID]; known != nil {
		why = known.blocked
		if known.byBudget {
			why += d.budgetRemedy(pod)
		}
	} else if known := d.rollouts[pod.UID]; known != nil && known.waits != "" {
		why = known.waits
	} else if rule, name := d.ruleOf(pod); rule.Action == ruleWait {
		why = "waiting for it to complete, " + name
	} else {
		why = d.puttingBack(pod)
	}
	if pod.DeletionTimestamp != nil {
		grace := time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second
		switch {
		case len(pod.Finalizers) > 0:
			why = "terminating, blocked by finalizer " + strings.Join(pod.Finalizers, ", ")
		case grace >= longGrace:
			why = fmt.Sprintf("terminating, its grace period of %s ends at %s", grace, pod.DeletionTimestamp.UTC().Format(time.RFC3339))
		}
	}
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "") + "…"
	}
	return why
}
