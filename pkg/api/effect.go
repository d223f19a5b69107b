package api

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Action names the kind of change that an effect is. Plugins may define further ones, in
// the same form: an imperative that begins with a capital letter.
type Action string

// The actions of the plugins of the default agent.
const (
	// ActionCordon makes a Node unschedulable.
	ActionCordon Action = "Cordon"
	// ActionEvict evicts a Pod and waits until it is deleted.
	ActionEvict Action = "Evict"
	// ActionRestart restarts the rollout of a workload, which replaces its Pods.
	ActionRestart Action = "Restart"
	// ActionWait waits for a change that something else makes.
	ActionWait Action = "Wait"
	// ActionSkip does not change an object.
	ActionSkip Action = "Skip"
	// ActionCall sends a request to another system.
	ActionCall Action = "Call"
	// ActionLog writes to the agent's log.
	ActionLog Action = "Log"
	// ActionUnknown marks an effect that a preview cannot determine. Reason names the cause.
	ActionUnknown Action = "Unknown"
)

// Effect is one change that a step would make, or one object that it would not change.
type Effect struct {
	Action Action `json:"action"`
	// Object identifies the object that the effect changes.
	Object Object `json:"object,omitzero"`
	// UID is the UID of the affected Pod or VolumeAttachment, even if Object is its controller or
	// its volume. The hash of a plan identifies the effect by it.
	UID types.UID `json:"uid,omitempty"`
	// Reason says in a few words why, empty if that is plain.
	Reason string `json:"reason,omitempty"`
	// Blocked describes the current blocker of the effect, nil if there is none.
	Blocked *Blocker `json:"blocked,omitempty"`
	// Unchecked is the cause if it is unknown whether the effect is blocked. Otherwise it is
	// empty.
	Unchecked string `json:"unchecked,omitempty"`
	// ReportedBy names the other system that reported the effect, such as the service of a webhook. It
	// is empty if the plugin found the effect itself. The CLI does not call other systems, so the hash
	// of a plan does not contain these effects.
	ReportedBy string `json:"reportedBy,omitempty"`
}

// Object names an object: a Kubernetes object by its kind, namespace and name, or
// something else, such as a URL, by a kind and a name.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// The kinds of objects that readers of effects know.
const (
	KindNode = "Node"
	KindPod  = "Pod"
	KindURL  = "URL"
)

// String returns "shop/cart-0" or "worker-1".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

// BlockedCause is why an effect is blocked. It decides on the remedy.
type BlockedCause string

const (
	// BlockedByBudget: a PodDisruptionBudget allows no disruption now.
	BlockedByBudget BlockedCause = "Budget"
	// BlockedByBudgetStatus: a PodDisruptionBudget cannot be computed.
	BlockedByBudgetStatus BlockedCause = "BudgetNotComputed"
	// BlockedByUnready: the Pod is not ready, and its budget has too few healthy Pods.
	BlockedByUnready BlockedCause = "PodNotReady"
	// BlockedByBudgets: several budgets select the Pod, which the eviction API does not support.
	BlockedByBudgets BlockedCause = "MultipleBudgets"
	// BlockedByOption: an option of the step, named by Option, forbids it.
	BlockedByOption BlockedCause = "Option"
	// BlockedByController: the controller of the Pod puts its Pods back on the Node.
	BlockedByController BlockedCause = "Controller"
	// BlockedByNamespace: the namespace of the Pod is terminating, and nothing is evicted in it.
	BlockedByNamespace BlockedCause = "NamespaceTerminating"
	// BlockedByFinalizer: finalizers of the Pod block its deletion after its grace period.
	BlockedByFinalizer BlockedCause = "Finalizer"
	// BlockedByAdmission: an admission webhook or policy denies it.
	BlockedByAdmission BlockedCause = "Denied"
	// BlockedByWebhook: an admission webhook cannot be called.
	BlockedByWebhook BlockedCause = "WebhookFailed"
	// BlockedByServer: the API server refuses it, or does not answer.
	BlockedByServer BlockedCause = "Refused"
	// BlockedByLastCopy: the Node may hold the last complete copy of data.
	BlockedByLastCopy BlockedCause = "LastCopy"
)

// Blocker describes the blocker of an effect.
type Blocker struct {
	Cause BlockedCause `json:"cause"`
	// Message says it to people.
	Message string `json:"message"`
	// Option of the step that would allow it when it is true, with BlockedByOption.
	Option string `json:"option,omitempty"`
	// Remedy is the next step for an operator. It is empty if only the message describes one.
	Remedy string `json:"remedy,omitempty"`
}

// String returns one line: "evict shop/cart-0 (blocked: …)". The Node of the plan is
// not named again.
func (e Effect) String() string {
	if e.Action == ActionUnknown {
		return e.Reason
	}
	text := strings.ToLower(string(e.Action))
	switch {
	case e.Object.Name == "" || e.Object.Kind == KindNode:
	case e.Object.Kind == KindPod || e.Object.Kind == KindURL:
		text += " " + e.Object.String()
	default:
		text += " " + e.Object.Kind + " " + e.Object.String()
	}
	switch {
	case e.Blocked != nil:
		return text + " (blocked: " + e.Blocked.Message + ")"
	case e.Unchecked != "":
		return text + " (not checked: " + e.Unchecked + ")"
	case e.Reason == "":
		return text
	case e.Object.Name == "" || e.Object.Kind == KindNode:
		return text + ": " + e.Reason
	}
	return text + " (" + e.Reason + ")"
}

// Would returns the effects that a dry run found for the step, one per line. Records of earlier
// agents have lines instead of effects.
func (s *StepRun) Would() []string {
	lines := s.Preview
	for _, effect := range s.Effects {
		lines = append(lines[:len(lines):len(lines)], effect.String())
	}
	return lines
}
