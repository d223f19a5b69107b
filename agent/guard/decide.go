// Package guard evaluates whether a Node may be deleted. It decides on the live Node, which it
// reads from the API server. The decision itself is a pure function. If the Node cannot be read, the
// admission review can deny the deletion, and cannot allow it.
package guard

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Request is a request to delete a Node, as an admission review describes it. Its sender can
// forge all of it unless it is Verified: an allowed request has no other effect than entries in
// the ledger.
type Request struct {
	// Name and UID identify the Node.
	Name string
	UID  types.UID
	// Labels and Annotations of the Node in the review can deny the deletion if the live Node
	// cannot be read. They never allow it.
	Labels, Annotations map[string]string
	User                string
	Groups              []string
	// Verified: the caller of the webhook authenticated as an API server.
	Verified bool
	// DryRun: nothing is deleted, whatever the answer.
	DryRun bool
}

// Deletion is a request and the live Node.
type Deletion struct {
	Request
	// Node is nil if it could not be read.
	Node *corev1.Node
}

// Rule is one thing that is evaluated. Its name is that of the field in the config, if there
// is one.
type Rule string

// The rules.
const (
	Protect         Rule = "protect"
	ControlPlane    Rule = "controlPlane"
	CriticalPods    Rule = "criticalPods"
	LastSchedulable Rule = "lastSchedulable"
	MaxTerminating  Rule = "maxTerminating"
)

// Facts are what was read for a decision; for rules that need none they are zero.
type Facts struct {
	// CriticalPods run on the Node, as namespace/name.
	CriticalPods []string
	// OtherSchedulable: a pod without tolerations can run on another Node.
	OtherSchedulable bool
	// Terminating are the names of the other Nodes that are terminating, or whose deletion was
	// allowed a moment ago. Nodes is the number of all Nodes.
	Terminating []string
	Nodes       int
	// Unread are the rules whose facts could not be read, and why. With Protect the Node itself
	// could not be read.
	Unread map[Rule]error
}

// unread returns the facts with rules that could not be read because of err, if there is one.
func (f Facts) unread(rules []Rule, err error) Facts {
	if err == nil {
		return f
	}
	f.Unread = maps.Clone(f.Unread)
	for _, rule := range rules {
		f.Unread[rule] = err
	}
	return f
}

// Verdict is the answer to a request.
type Verdict struct {
	Allowed bool
	// Blockers are the rules that deny the deletion, each with the next step.
	Blockers []Blocker
	// Unread are the rules that could not be evaluated, in the order of the rules.
	Unread []Unread
	// Busy: too many requests at once, so this one was not evaluated in time. It is denied,
	// whatever guard.onReadError is.
	Busy bool
	// BreakGlass is what allowed the deletion; it is active or zero.
	BreakGlass api.BreakGlass
	// Record: the ledger records who deletes the Node, for the run record of the cleanup.
	Record bool
	// Message says why the deletion is denied. Warnings are for the user, whatever the answer.
	Message  string
	Warnings []string
}

// Blocker is a rule that denies a deletion.
type Blocker struct {
	Rule Rule
	// What blocks the deletion, and what to do about it, each a clause.
	What, Next string
}

// Unread is a rule that could not be evaluated.
type Unread struct {
	Rule Rule
	Err  error
}

// Needed returns the rules that need facts for a deletion.
func Needed(settings *config.Config, deletion Deletion, now time.Time) []Rule {
	if is, _ := exempt(settings, deletion, now); is || !selected(settings, deletion.Node) {
		return nil
	}
	var needed []Rule
	guard := settings.Guard
	if len(guard.CriticalPods) > 0 {
		needed = append(needed, CriticalPods)
	}
	if guard.LastSchedulable == config.Refuse && worker(deletion.Node) {
		needed = append(needed, LastSchedulable)
	}
	if guard.MaxTerminating.Set() {
		needed = append(needed, MaxTerminating)
	}
	return needed
}

// shared returns those of the rules that two deletions at the same time could break.
func shared(needed []Rule) []Rule {
	return slices.DeleteFunc(slices.Clone(needed), func(rule Rule) bool { return rule != LastSchedulable && rule != MaxTerminating })
}

// Decide answers a deletion by the facts that were read for the rules Needed.
func Decide(settings *config.Config, deletion Deletion, facts Facts, now time.Time) Verdict {
	is, glass := exempt(settings, deletion, now)
	verdict := Verdict{Allowed: true, BreakGlass: glass, Record: records(settings, deletion)}
	if is {
		return verdict
	}
	if err := facts.Unread[Protect]; err != nil {
		verdict.Unread = append(verdict.Unread, Unread{Protect, err})
		verdict.evaluateReviewed(settings, deletion)
	} else {
		verdict.evaluate(settings, deletion, facts)
	}
	verdict.Allowed = settings.DryRun ||
		len(verdict.Blockers) == 0 && (len(verdict.Unread) == 0 || settings.Guard.OnReadError != config.Refuse)
	verdict.Record = verdict.Record && verdict.Allowed
	verdict.explain(settings, deletion, now)
	return verdict
}

// evaluate adds what each rule says about the live Node.
func (v *Verdict) evaluate(settings *config.Config, deletion Deletion, facts Facts) {
	if blocker := protected(deletion.Node); blocker != nil {
		v.Blockers = append(v.Blockers, *blocker)
	}
	if !selected(settings, deletion.Node) {
		return
	}
	for _, rule := range rules {
		if err := facts.Unread[rule.name]; err != nil {
			v.Unread = append(v.Unread, Unread{rule.name, err})
		} else if blocker := rule.blocks(settings.Guard, deletion, facts); blocker != nil {
			v.Blockers = append(v.Blockers, *blocker)
		}
	}
}

// evaluateReviewed adds what denies the deletion of the Node in the review, for a live Node that
// could not be read. A forged review can only deny its own deletion.
func (v *Verdict) evaluateReviewed(settings *config.Config, deletion Deletion) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: deletion.Name, Labels: deletion.Labels, Annotations: deletion.Annotations}}
	deletion.Node = node
	blockers := []*Blocker{protected(node)}
	if selected(settings, node) {
		blockers = append(blockers, controlPlane(settings.Guard, deletion, Facts{}))
	}
	for _, blocker := range blockers {
		if blocker != nil {
			v.Blockers = append(v.Blockers, Blocker{blocker.Rule, "according to the admission review, " + blocker.What, blocker.Next})
		}
	}
}

// records reports whether the ledger records who deletes the Node: a cleanup follows.
func records(settings *config.Config, deletion Deletion) bool {
	return settings.Guard.Enabled && !deletion.DryRun && deletion.Node != nil &&
		deletion.Node.DeletionTimestamp == nil && api.HasFinalizer(deletion.Node)
}

// exempt reports whether no rule applies: the guard is off, it exempts the user, the Node is
// terminating already, or an operator broke the glass.
func exempt(settings *config.Config, deletion Deletion, now time.Time) (bool, api.BreakGlass) {
	guard := settings.Guard
	user := slices.Contains(guard.ExemptUsers, deletion.User) ||
		slices.ContainsFunc(deletion.Groups, func(group string) bool { return slices.Contains(guard.ExemptGroups, group) })
	switch {
	case !guard.Enabled || user:
		return true, api.BreakGlass{}
	case deletion.Node == nil:
		return false, api.BreakGlass{}
	case deletion.Node.DeletionTimestamp != nil:
		return true, api.BreakGlass{}
	}
	// The message of a denial says what is wrong with the annotations.
	if glass, err := api.BreakGlassOf(deletion.Node, now); err == nil && glass.Active {
		return true, glass
	}
	return false, api.BreakGlass{}
}

func selected(settings *config.Config, node *corev1.Node) bool {
	return settings.NodeSelector.Matches(labels.Set(node.Labels))
}

// worker reports whether pods without tolerations run on the Node, or would if it were not
// cordoned: an orderly deletion begins with a cordon.
func worker(node *corev1.Node) bool {
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule && taint.Key != corev1.TaintNodeUnschedulable
	})
}

// schedulable reports whether a pod without tolerations can be scheduled on the Node now. A
// Node that is not ready has a taint.
func schedulable(node *corev1.Node) bool {
	return worker(node) && !node.Spec.Unschedulable && node.DeletionTimestamp == nil
}
