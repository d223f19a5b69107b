package diagnose

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// onItsWay is how long a step runs, or a Node waits for its first step, before that is a cause.
const onItsWay = time.Minute

// waiting is the cause of a deleted Node that is held for long although no rule knows why.
func waiting(f *found, now time.Time) *printer.Cause {
	if !f.held() || f.node.DeletionTimestamp == nil || f.unreadable != nil {
		return nil
	}
	since, text := f.node.DeletionTimestamp.Time, ""
	if f.run != nil {
		for _, step := range f.run.Steps {
			switch {
			case !step.State.Known():
				return nil // A newer agent knows more.
			case step.State == api.StepRunning && step.StartedAt == nil:
				return nil
			case step.State == api.StepRunning:
				since, text = step.StartedAt.Time, fmt.Sprintf("step %s (%s) has been running for %s", step.Name, step.Plugin, printer.Age(now.Sub(step.StartedAt.Time)))
				if step.Progress != "" {
					text += ": " + step.Progress
				}
			}
		}
	}
	if now.Sub(since) < onItsWay {
		return nil
	}
	logs := inspect.Logs(f.namespace, "--tail=-1 | grep "+f.name)
	condition := api.CleanupConditionOf(f.node)
	if f.run == nil && condition == nil && f.agent != nil {
		text = fmt.Sprintf("no agent has acted on the node since its deletion %s ago, although the agent is available", printer.Age(now.Sub(since)))
		if lease := f.agent.Leadership.Lease; lease != nil && lease.Spec.AcquireTime != nil {
			text += fmt.Sprintf("; its leader has led for %s", printer.Age(now.Sub(lease.Spec.AcquireTime.Time)))
		}
		return cause("waiting", text, "wait a minute for the node's Event CleanupStarted; if there is none, see why: "+logs, bypass(f))
	}
	if text == "" {
		text = "the node was deleted " + printer.Age(now.Sub(since)) + " ago"
		if condition != nil {
			text += strings.TrimSuffix(fmt.Sprintf(", and its cleanup is %s: %s", condition.Reason, condition.Message), ": ")
		}
	}
	return cause("waiting", text, logs, bypass(f))
}
