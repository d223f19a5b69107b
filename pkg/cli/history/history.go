// Package history is the command that lists past cleanups, including those of deleted nodes.
package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	// Node limits it to one, also to one that is deleted; empty for all.
	Node  string
	Since time.Duration
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "history [NODE]",
		Short: "List past cleanups, including those of deleted nodes",
		Long: `List past cleanups, newest first, including those of deleted nodes. It reads the run
records; the field history of the config sets how long they are kept. -o wide shows each
step.`,
		Example: `  kubectl nodecleanup history

  # The cleanup of one node, step by step
  kubectl nodecleanup history ip-10-0-7 -o wide

  # The cleanups of the last day
  kubectl nodecleanup history --since 24h`,
		Args:              command.AtMostOneNode,
		ValidArgsFunction: environment.CompleteRuns,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				o.Node = command.NodeName(arguments[0])
			}
			if cmd.Flags().Changed("since") && o.Since <= 0 {
				return exit.Usagef("--since must be longer than 0, not %s", o.Since)
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().DurationVar(&o.Since, "since", 0, "Only cleanups that started within this time, such as 24h (default: all)")
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	return o.Output.Validate()
}

// Run reads and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	view, err := Read(ctx, clients.Typed, namespace, o.wants, o.ServerTime)
	if err != nil {
		return err
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if len(view.Runs)+len(view.Unreadable) == 0 {
		o.Say("%s", o.nothing(namespace))
	}
	return nil
}

// nothing is the message for an empty history.
func (o *Options) nothing(namespace string) string {
	text := "No cleanup"
	if o.Node != "" {
		text += " of node " + o.Node
	}
	text += " is recorded in namespace " + namespace
	if o.Since > 0 {
		text += fmt.Sprintf(" since %s ago", o.Since)
	}
	return text + ". A cleanup that has not begun has no record yet; how long records are kept is in the config, under history."
}

// wants reports whether the record of a node, which began at that time, is shown. It is asked with an empty node and
// the zero time if the record does not say it.
func (o *Options) wants(node string, began time.Time) bool {
	if o.Node != "" && node != "" && node != o.Node {
		return false
	}
	return o.Since == 0 || began.IsZero() || began.After(o.ServerTime().Add(-o.Since))
}

// Read returns the recorded cleanups that are wanted, newest first. Wants is asked with an empty node or the zero time if
// a record that cannot be decoded does not say it. Now is the API server's time.
func Read(ctx context.Context, client kubernetes.Interface, namespace string, wants func(node string, began time.Time) bool, now func() time.Time) (*printer.History, error) {
	view := printer.NewHistory(time.Time{})
	absence := sync.OnceValue(func() inspect.Absence { return inspect.ReadAbsence(ctx, client, namespace, now) })
	err := cluster.EachRun(ctx, client, namespace, func(configMap *corev1.ConfigMap) {
		run, err := api.ReadRun(configMap)
		switch {
		case err != nil:
			if node := api.RunNode(configMap); wants(node, time.Time{}) {
				view.Unreadable = append(view.Unreadable, undecodable(node, err))
			}
		case wants(run.Node, run.StartedAt.Time):
			view.Runs = append(view.Runs, past(configMap.Name, run, absence, now()))
		}
	})
	if err != nil {
		return nil, err
	}
	view.Time = metav1.NewTime(now())
	slices.SortFunc(view.Runs, func(a, b printer.PastRun) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt.Time), cmp.Compare(a.Record, b.Record))
	})
	return view, nil
}

func undecodable(node string, err error) string {
	if node == "" {
		return command.UndecodableOfDeletedNode(err).String()
	}
	return command.UndecodablePast(node, err).String()
}

// interrupted is shown for a step that the end of its run has cut off.
const interrupted = "Interrupted"

// past returns the view of a run. Absence is read only for a run that is not finished.
func past(record string, run *api.Run, absence func() inspect.Absence, now time.Time) printer.PastRun {
	view := printer.PastRun{
		Record: record, Node: run.Node, NodeUID: string(run.NodeUID), State: string(run.State), Message: run.Message, DryRun: run.DryRun,
		RequestedBy: run.RequestedBy, RequestedByVerified: run.RequestedByVerified, Requester: run.Requester(), Bypass: run.BypassReason, BreakGlass: run.BreakGlassReason, PlanHash: run.PlanHash, RequestedPlan: run.RequestedPlan, StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
		BypassedBy: run.BypassedBy, BypassedByVerified: run.BypassedByVerified, Bypasser: run.Bypasser(),
		RetryRequestedBy: run.RetryRequestedBy, RetryRequestedByVerified: run.RetryRequestedByVerified, Retrier: run.Retrier(),
		Steps: []printer.PastStep{}, Newer: command.Newer(run),
	}
	var without inspect.Absence
	if run.FinishedAt == nil {
		without = absence()
		view.Message = without.Qualify(run.State, run.Message)
	}
	for _, step := range run.Steps {
		row := printer.PastStep{Name: step.Name, Plugin: step.Plugin, State: string(step.State), Attempts: step.Attempts, Error: step.LastError, Outputs: step.Outputs}
		if step.LastError == "" { // Why it was skipped, or ran again.
			row.Error = step.Reason
		}
		end := step.FinishedAt
		switch {
		case run.Interrupted(step):
			row.State, end = interrupted, run.FinishedAt
		case step.State == api.StepRunning && without.NoLeader:
			row.Error, end = "it does not run now: no agent is the leader", without.LastLed
		case step.State == api.StepRunning:
			end = &metav1.Time{Time: now}
		}
		if step.StartedAt != nil && end != nil {
			row.Seconds = int64(end.Sub(step.StartedAt.Time).Seconds())
		}
		view.Steps = append(view.Steps, row)
	}
	return view
}
