// Package guard answers whether a Node may be deleted. What it decides by is read live;
// the decision itself is a pure function.
package guard

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Request is a deletion that somebody asks for.
type Request struct {
	// Node as it is: its metadata, spec.taints and spec.unschedulable.
	Node   *corev1.Node
	User   string
	Groups []string
	// DryRun: nothing is deleted, whatever the answer.
	DryRun bool
}

// Rule is one thing that is looked at. Its name is that of the field in the config, where
// there is one.
type Rule string

// The rules.
const (
	Protect         Rule = "protect"
	ControlPlane    Rule = "controlPlane"
	CriticalPods    Rule = "criticalPods"
	LastSchedulable Rule = "lastSchedulable"
	MaxTerminating  Rule = "maxTerminating"
)

// Facts are what was read for a decision; of rules that are not asked they are zero.
type Facts struct {
	// CriticalPods run on the Node, as namespace/name.
	CriticalPods []string
	// OtherSchedulable: there is another Node on which a pod without tolerations can run.
	OtherSchedulable bool
	// Terminating are the names of the other Nodes that terminate, or whose deletion was
	// allowed a moment ago. Nodes counts all there are.
	Terminating []string
	Nodes       int
	// Unread are the rules whose facts could not be read, and why.
	Unread map[Rule]error
}

// Verdict is the answer to a request.
type Verdict struct {
	Allowed bool
	// Blockers are what speaks against the deletion, each with the way out.
	Blockers []Blocker
	// Unread are the rules that could not be looked at, in the order of the rules.
	Unread []Unread
	// Busy: so much is asked at once that this was not looked at in time. It is refused,
	// whatever the config says of what cannot be read.
	Busy bool
	// BreakGlass is what let the deletion through regardless; it is active or zero.
	BreakGlass api.BreakGlass
	// Note: who asked is kept, for the record of the cleanup that follows.
	Note bool
	// Message says why not; Warnings what to know all the same. Both are for whoever asked.
	Message  string
	Warnings []string
}

// Blocker is one thing that speaks against a deletion.
type Blocker struct {
	Rule Rule
	// What is in the way, and the WayOut, each a clause.
	What, WayOut string
}

// Unread is a rule that could not be looked at.
type Unread struct {
	Rule Rule
	Err  error
}

// Asked returns the rules that need facts for the request, none where no rule matters.
func Asked(settings *config.Config, request Request, now time.Time) []Rule {
	if pass, _ := freePass(settings, request, now); pass || !selected(settings, request.Node) {
		return nil
	}
	var asked []Rule
	guard := settings.Guard
	if len(guard.CriticalPods) > 0 {
		asked = append(asked, CriticalPods)
	}
	if guard.LastSchedulable == config.Refuse && worker(request.Node) {
		asked = append(asked, LastSchedulable)
	}
	if guard.MaxTerminating.Set() {
		asked = append(asked, MaxTerminating)
	}
	return asked
}

// Decide answers a request by the facts that were read for the rules Asked.
func Decide(settings *config.Config, request Request, facts Facts, now time.Time) Verdict {
	pass, glass := freePass(settings, request, now)
	verdict := Verdict{Allowed: true, BreakGlass: glass}
	verdict.Note = settings.Guard.Enabled && request.Node.DeletionTimestamp == nil && api.HasFinalizer(request.Node)
	if pass {
		return verdict
	}
	if blocker := protected(request.Node); blocker != nil {
		verdict.Blockers = append(verdict.Blockers, *blocker)
	}
	if selected(settings, request.Node) {
		for _, rule := range rules {
			if err := facts.Unread[rule.name]; err != nil {
				verdict.Unread = append(verdict.Unread, Unread{rule.name, err})
			} else if blocker := rule.blocks(settings.Guard, request, facts); blocker != nil {
				verdict.Blockers = append(verdict.Blockers, *blocker)
			}
		}
	}
	verdict.Allowed = settings.DryRun ||
		len(verdict.Blockers) == 0 && (len(verdict.Unread) == 0 || settings.Guard.OnReadError != config.Refuse)
	verdict.explain(settings, request, now)
	return verdict
}

// freePass reports whether no rule matters: the Node terminates already, or the guard is
// off, or knows that user, or somebody broke the glass.
func freePass(settings *config.Config, request Request, now time.Time) (bool, api.BreakGlass) {
	guard := settings.Guard
	exempt := slices.Contains(guard.ExemptUsers, request.User) ||
		slices.ContainsFunc(request.Groups, func(group string) bool { return slices.Contains(guard.ExemptGroups, group) })
	if request.Node.DeletionTimestamp != nil || !guard.Enabled || exempt {
		return true, api.BreakGlass{}
	}
	// What is wrong with it is told where a rule refuses.
	if glass, err := api.BreakGlassOf(request.Node, now); err == nil && glass.Active {
		return true, glass
	}
	return false, api.BreakGlass{}
}

func selected(settings *config.Config, node *corev1.Node) bool {
	return settings.NodeSelector.Matches(labels.Set(node.Labels))
}

// worker reports whether pods without tolerations run on the Node, or would if it were not
// cordoned: to cordon it is how an orderly deletion begins.
func worker(node *corev1.Node) bool {
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule && taint.Key != corev1.TaintNodeUnschedulable
	})
}

// schedulable reports whether a pod without tolerations can be put on the Node now. A Node
// that is not ready is tainted.
func schedulable(node *corev1.Node) bool {
	return worker(node) && !node.Spec.Unschedulable && node.DeletionTimestamp == nil
}
