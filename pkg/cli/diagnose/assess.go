package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// assess turns the collected facts into the diagnosis.
func assess(f *found, now time.Time) *printer.Diagnosis {
	view := printer.NewDiagnosis(f.name, now)
	view.Evidence = append(view.Evidence, f.evidence...)
	view.NotChecked = f.unread
	for _, event := range f.events {
		view.Events = append(view.Events, fmt.Sprintf("%s ago %s: %s", printer.Age(now.Sub(seenAt(event).Time)), event.Reason, event.Message))
	}
	fact := func(outcome printer.Outcome, format string, arguments ...any) {
		view.Facts = append(view.Facts, printer.Fact{Outcome: outcome, Text: fmt.Sprintf(format, arguments...)})
	}
	if f.node == nil {
		view.Question = fmt.Sprintf("Node %s no longer exists.", f.name)
		view.Evidence = []string{"run record"}
		f.last(view, fact, now)
		return view
	}
	view.NodeUID = string(f.node.UID)
	if condition := api.CleanupConditionOf(f.node); condition != nil {
		view.State = condition.Reason
	}
	for _, finalizer := range f.node.Finalizers {
		view.Holding = append(view.Holding, "finalizer "+finalizer+" ("+ownerOf(finalizer)+")")
	}
	requested := f.node.Annotations[api.AnnotationCleanupRequestedAt]
	switch {
	case f.node.DeletionTimestamp != nil:
		view.Question = fmt.Sprintf("Why does %s still exist?", f.name)
		by := ""
		if f.run != nil && f.run.CleanupRequestedAt == "" && f.run.RequestedBy != "" {
			by = " by " + f.run.Requester()
		}
		fact(printer.Pass, "deletion requested %s ago%s", printer.Age(now.Sub(f.node.DeletionTimestamp.Time)), by)
	case requested != "":
		view.Question = fmt.Sprintf("Cleanup of %s (the node is not being deleted)", f.name)
		if at, err := time.Parse(time.RFC3339, requested); err == nil {
			requested = at.UTC().Format(time.RFC3339) // The CLI writes nanoseconds.
		}
		only := ""
		if plan := f.node.Annotations[api.AnnotationCleanupRequestedPlan]; plan != "" {
			only = ", only plan " + plan
		}
		fact(printer.Pass, "cleanup requested at %s by %s%s", requested, printer.OrDash(f.node.Annotations[api.AnnotationCleanupRequestedBy]), only)
	default:
		view.Question = fmt.Sprintf("Node %s is not being deleted, and no cleanup was requested.", f.name)
		if bypass := inspect.Bypass(f.node, now); bypass == nil {
			fact(passed(api.HasFinalizer(f.node)), "%s", f.protection(now))
		}
		f.marked(view, fact, now)
		return view
	}
	f.marked(view, fact, now)
	f.steps(fact, now)
	if f.run != nil && f.run.Refused {
		fact(printer.Error, "%s", f.run.Message)
		view.Remarks = append(view.Remarks, "show the current plan: kubectl nodecleanup plan "+f.name)
	}
	for _, rule := range rules {
		if cause := rule(f, now); cause != nil {
			view.Causes = append(view.Causes, *cause)
		}
	}
	if len(view.Causes) == 0 {
		if cause := waiting(f, now); cause != nil {
			view.Causes = append(view.Causes, *cause)
		}
	}
	view.Remarks = append(view.Remarks, append(f.newer(), f.remarks(now)...)...)
	return view
}

// last describes the last cleanup of a deleted node.
func (f *found) last(view *printer.Diagnosis, fact func(printer.Outcome, string, ...any), now time.Time) {
	if f.run != nil {
		view.NodeUID, view.State = string(f.run.NodeUID), string(f.run.State)
		outcome := passed(f.run.State.Released())
		if !f.run.State.Known() {
			outcome = printer.Skip
		}
		fact(outcome, "its last cleanup: %s", strings.TrimSuffix(fmt.Sprintf("%s, %s", f.run.State, f.run.Message), ", "))
		f.steps(fact, now)
		view.Remarks = f.newer()
	}
	for _, err := range f.undecodable {
		record := command.UndecodableOfDeletedNode(err)
		fact(printer.Error, "%s", record.What)
		view.Remarks = append(view.Remarks, record.Next)
	}
	slices.Sort(view.Remarks)
	view.Remarks = slices.Compact(view.Remarks)
}

// marked describes the bypass on a node that is not being deleted.
func (f *found) marked(view *printer.Diagnosis, fact func(printer.Outcome, string, ...any), now time.Time) {
	if f.node.DeletionTimestamp != nil {
		return
	}
	if bypass := inspect.Bypass(f.node, now); bypass != nil {
		fact(printer.Warning, "%s", bypass.Line())
		view.Remarks = append(view.Remarks, command.TakeBack(f.name))
	} else if _, err := api.BypassOf(f.node, now); err != nil {
		fact(printer.Warning, "its bypass is ignored: %v", err)
	}
}

func passed(good bool) printer.Outcome {
	if good {
		return printer.Pass
	}
	return printer.Error
}

func (f *found) protection(now time.Time) string {
	if api.HasFinalizer(f.node) {
		return "it is protected: its deletion waits for its cleanup"
	}
	const not = "it is NOT protected: if it is deleted, no cleanup runs"
	if why := f.unprotectedBecause(now); why != "" {
		return not + "; " + why
	}
	return not + " (kubectl nodecleanup check says why)"
}

// unprotectedBecause returns why the node lacks the finalizer, empty if that is not known.
func (f *found) unprotectedBecause(now time.Time) string {
	var agent *printer.Agent
	if f.agent != nil {
		agent = &inspect.Assess(f.agent, version.Version, now).Agent
	}
	return inspect.Unprotected(f.node, f.selector, agent)
}

// steps describes each step of the run.
func (f *found) steps(fact func(printer.Outcome, string, ...any), now time.Time) {
	if f.run == nil {
		return
	}
	for i, step := range f.run.Steps {
		place := fmt.Sprintf("%d/%d %s", i+1, len(f.run.Steps), step.Name)
		switch step.State {
		case api.StepSucceeded:
			fact(printer.Pass, "%s", place)
		case api.StepSkipped:
			fact(printer.Skip, "%s: skipped, %s", place, step.Reason)
		case api.StepRunning:
			fact(printer.Underway, "%s: %s, attempt %d", place, f.absence().Qualify(api.Running, orElse(step.Progress, "running")), step.Attempts)
		case api.StepRetrying:
			fact(printer.Error, "%s: attempt %d failed, %s", place, step.Attempts, f.nextTry(step, now))
		case api.StepFailed:
			fact(printer.Error, "%s: failed after %s", place, api.Count(step.Attempts, "attempt"))
		case api.StepPending:
			fact(printer.Skip, "%s: not started", place)
		default:
			fact(printer.Skip, "%s: %s (a state of a newer version)", place, step.State)
		}
	}
}

// absence returns why no agent updates the run record. It is zero if that is not known, or the node is deleted.
func (f *found) absence() inspect.Absence {
	if f.agent == nil {
		return inspect.Absence{}
	}
	return f.agent.Absence()
}

func (f *found) nextTry(step api.StepRun, now time.Time) string {
	if f.absence().NoLeader {
		return "retried when an agent is the leader again"
	}
	if step.NextAttemptAt == nil || !step.NextAttemptAt.After(now) {
		return "retrying now"
	}
	return "next in " + printer.Age(step.NextAttemptAt.Sub(now))
}

// nextAttempt is like nextTry, with the time of the attempt.
func (f *found) nextAttempt(step api.StepRun, now time.Time) string {
	if f.absence().NoLeader || step.NextAttemptAt == nil || !step.NextAttemptAt.After(now) {
		return "it is " + strings.Replace(f.nextTry(step, now), "retrying now", "retried now", 1)
	}
	return "the next attempt begins at " + step.NextAttemptAt.UTC().Format(time.RFC3339)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// ownerOf names the owner of a finalizer if its domain is known.
func ownerOf(finalizer string) string {
	for _, known := range []struct{ mark, owner string }{
		{api.Finalizer, "nodecleanup"}, {"cattle.io", "Rancher"}, {"k3s.io", "k3s"}, {"karpenter.sh", "Karpenter"},
		{"cluster.x-k8s.io", "Cluster API"}, {"longhorn.io", "Longhorn"}, {"rook.io", "Rook"}, {"gardener.cloud", "Gardener"},
		{"openshift.io", "OpenShift"}, {"portworx", "Portworx"},
	} {
		if strings.Contains(finalizer, known.mark) {
			return known.owner
		}
	}
	domain, _, _ := strings.Cut(finalizer, "/")
	return "owner: " + domain
}
