package drain

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// ruleAction is the drain's action for the Pods that a rule selects.
type ruleAction string

const (
	ruleEvict ruleAction = "evict"
	// ruleSkip leaves the Pods on the Node.
	ruleSkip ruleAction = "skip"
	// ruleWait waits until the Pods have completed.
	ruleWait ruleAction = "waitCompleted"
	// ruleLast evicts the Pods after all others of their tier.
	ruleLast ruleAction = "last"
	// ruleRestart restarts the rollout of the Pods' Deployment or StatefulSet, see restart.
	ruleRestart ruleAction = "rolloutRestart"
)

var ruleActions = []ruleAction{ruleEvict, ruleSkip, ruleWait, ruleLast, ruleRestart}

// podRule selects Pods and sets the drain's action for them.
type podRule struct {
	pods.Selector
	// Action is what the drain does with the Pods.
	Action ruleAction `json:"action" jsonschema:"enum=evict,enum=skip,enum=waitCompleted,enum=last,enum=rolloutRestart,default=evict"`
	// Order is the order within each group of Pods. The drain deletes Pods with a lower number before
	// it evicts the next. Pods without a rule have 0.
	Order int32 `json:"order" jsonschema:"default=0"`
	// GracePeriodSeconds overrides the grace period of the step, with the actions `evict` and `last`.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds" jsonschema:"minimum=1"`
}

func (r *podRule) validate(path string) []error {
	faults := r.Selector.Validate(path)
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if r.Action == "" {
		r.Action = ruleEvict
	}
	switch {
	case !slices.Contains(ruleActions, r.Action):
		fault(path+".action", "is %q, must be evict, skip, waitCompleted, last, or rolloutRestart", r.Action)
	case r.Action == ruleSkip && r.Everything():
		fault(path, "skips all Pods: set namespaces or a selector")
	}
	if r.Order != 0 && (r.Action == ruleSkip || r.Action == ruleLast) {
		fault(path+".order", "has no effect with action %s", r.Action)
	}
	switch {
	case r.GracePeriodSeconds == nil:
	case *r.GracePeriodSeconds < shortest:
		fault(path+".gracePeriodSeconds", "must be at least %d", shortest)
	case r.Action != ruleEvict && r.Action != ruleLast:
		fault(path+".gracePeriodSeconds", "has no effect with action %s", r.Action)
	}
	return faults
}

// ruleOf returns the first rule that selects the Pod, and its name: "rules[0]".
func (o options) ruleOf(pod *corev1.Pod) (podRule, string) {
	for i := range o.Rules {
		if o.Rules[i].Matches(pod) {
			return o.Rules[i], fmt.Sprintf("rules[%d]", i)
		}
	}
	return podRule{Action: ruleEvict}, ""
}

func (o options) skipped(pod *corev1.Pod, _ circumstances) (decision, bool) {
	rule, name := o.ruleOf(pod)
	return decision{action: leave, reason: "skipped by " + name}, rule.Action == ruleSkip
}

// untilCompleted does not apply if the kubelet does not answer: no Pod completes then.
func (o options) untilCompleted(pod *corev1.Pod, in circumstances) (decision, bool) {
	rule, name := o.ruleOf(pod)
	return decision{action: await, reason: "not evicted, waiting for it to complete (" + name + ")"}, rule.Action == ruleWait && !in.unreachable
}

// removal returns how an ordinary Pod is removed.
func (o options) removal(pod *corev1.Pod) action {
	if rule, _ := o.ruleOf(pod); rule.Action == ruleRestart {
		return restart
	}
	return evict
}

// orderReason names the rule that sets when an ordinary Pod is evicted, or returns "".
func (o options) orderReason(pod *corev1.Pod) string {
	rule, name := o.ruleOf(pod)
	switch {
	case rule.Action == ruleLast:
		return "last of its group, " + name
	case rule.Order != 0:
		return fmt.Sprintf("order %d, %s", rule.Order, name)
	}
	return ""
}

// rank orders Pods: all Pods of a lower rank are deleted before the next rank is evicted.
type rank struct {
	tier  tier
	order int64
}

func (r rank) less(other rank) bool {
	return r.tier < other.tier || r.tier == other.tier && r.order < other.order
}

func (o options) rankOf(pod *corev1.Pod) rank {
	rule, _ := o.ruleOf(pod)
	ranked := rank{tierOf(pod), int64(rule.Order)}
	if rule.Action == ruleLast {
		ranked.order = math.MaxInt64
	}
	if pods.OfDaemonSet(pod) {
		ranked.tier = daemons
	}
	return ranked
}
