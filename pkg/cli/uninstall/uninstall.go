// Package uninstall is the command that takes everything off a cluster again.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout

	DryRun      bool
	Yes         bool
	Force       bool
	KeepHistory bool
	// KeepNamespace leaves the namespace itself.
	KeepNamespace bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove nodecleanup from the cluster; needs no running agent",
		Long: `Remove nodecleanup from the cluster. No agent needs to be running.

The command removes, in this order: admission, the agent, the finalizer from every node,
the other objects, and the RBAC objects. It keeps the finalizers of other controllers. If
it fails, run it again: it continues where it stopped.

If a node is being cleaned up, the command refuses to start, because the remaining steps
would not run. To uninstall anyway, use --force: a node that is being deleted is then
released immediately. If you have already deleted the manifests, no agent can continue the
cleanups, so the command does not refuse.

If an agent runs outside the cluster, the command always refuses to start: that agent
would add the finalizer again. Stop the agent first.`,
		Example: `  # Show what would be removed, and which steps would not run
  kubectl nodecleanup uninstall --dry-run

  # Remove everything, without a confirmation
  kubectl nodecleanup uninstall --yes

  # Remove everything but the records of past cleanups
  kubectl nodecleanup uninstall --keep-history`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.DryRun, "dry-run", false, "Only show what would be removed, and which steps would not run")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "Do not ask for confirmation")
	flags.BoolVar(&o.Force, "force", false, "Uninstall while nodes are being cleaned up: their steps do not run, and deleted nodes are released immediately")
	flags.BoolVar(&o.KeepHistory, "keep-history", false, "Keep the records of cleanups, and the namespace for them")
	flags.BoolVar(&o.KeepNamespace, "keep-namespace", false, "Keep the namespace")
	o.AddTimeout(flags, 5*time.Minute)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	return o.ValidateTimeout()
}

// Run surveys, asks and removes.
func (o *Options) Run(ctx context.Context) error {
	clients, err := o.Cluster.Clients()
	if err != nil {
		return err
	}
	namespace, err := o.Cluster.Namespace(ctx, clients.Typed)
	if err != nil {
		return err
	}
	if err := command.CheckNamespace(ctx, clients.Typed, namespace, "uninstalling from", "Leave --namespace out to remove that one."); err != nil {
		return err
	}
	remover := &install.Remover{
		Objects:       clients.Dynamic,
		Nodes:         clients.Typed,
		Now:           o.ServerTime,
		AgentStops:    install.AgentStops,
		KeepNamespace: o.KeepNamespace,
		Report:        func(line string) { o.Say("%s", line) },
	}
	survey, err := remover.Survey(ctx, namespace, o.KeepHistory)
	if err != nil {
		return fmt.Errorf("finding the installed objects: %w", err)
	}
	if survey.Empty() {
		o.Say("There is nothing to remove: no object of nodecleanup in namespace %s or without a namespace, and no finalizer or annotation on a node.", namespace)
		return nil
	}
	if o.DryRun {
		describe(o.Out, survey)
		return o.refuse(survey)
	}
	describe(o.ErrOut, survey)
	if err := o.refuse(survey); err != nil {
		return err
	}
	if !o.Yes {
		if err := o.Confirm(ctx, "Remove all of this?"); err != nil {
			return err
		}
		// The answer may have taken hours.
		if survey, err = remover.Survey(ctx, namespace, o.KeepHistory); err != nil {
			return fmt.Errorf("finding the installed objects again: %w", err)
		}
		if err := o.refuse(survey); err != nil {
			return err
		}
	}
	// The time-out starts after the answer.
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	if err := remover.Remove(ctx, namespace, o.KeepHistory); err != nil {
		return explain(err)
	}
	fmt.Fprintln(o.Out, "nodecleanup removed")
	return nil
}

// refuse returns an error if an agent outside the cluster would undo the uninstall, or if
// cleanups would be left undone that an agent can continue.
func (o *Options) refuse(survey *install.Survey) error {
	again := "kubectl nodecleanup uninstall"
	if release := survey.HelmRelease(); release != "" {
		again = fmt.Sprintf("helm uninstall %s -n %s", release, survey.Namespace)
	}
	switch {
	case survey.Leader != "":
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("uninstalling: an agent outside the cluster is running (%s) and would add the finalizer again; nothing was removed", survey.Leader),
			Next: fmt.Sprintf("Stop the agent %s, then run: %s", survey.Leader, again),
		}
	case len(survey.Running) > 0 && survey.Installed() && !o.Force:
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("uninstalling: %s; nothing was removed", cleanedUpNow(survey.Running)),
			Next: afterCleanups(survey, again),
		}
	}
	return nil
}

// afterCleanups describes how to continue while nodes are being cleaned up. Helm marks its release
// as uninstalling before the hook runs, and then refuses to upgrade it.
func afterCleanups(survey *install.Survey, again string) string {
	next := "Wait until they are done (kubectl nodecleanup status shows the progress), then run: " + again
	next += "\n  or:  To skip their remaining steps, run: kubectl nodecleanup uninstall --force"
	if release := survey.HelmRelease(); release != "" {
		next += " && " + again
		next += fmt.Sprintf("\n  or:  To keep the release, take its newest revision from helm history, and run: helm rollback %s REVISION -n %s", release, survey.Namespace)
	}
	return next
}

// cleanedUpNow names the nodes; the first few of many are enough to find the others.
func cleanedUpNow(running []install.RunningNode) string {
	const named = 5
	var names []string
	for _, one := range running[:min(named, len(running))] {
		names = append(names, one.Name)
	}
	if more := len(running) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("nodes are being cleaned up, and their remaining steps would not run: %s", strings.Join(names, ", "))
}

func explain(err error) error {
	var left *install.NodesLeftError
	var namespace *install.NamespaceLeftError
	switch {
	case errors.As(err, &namespace):
		return &exit.Error{
			Code: exit.TimedOut, Err: err,
			Next: "nodecleanup blocks no node any more. " + command.Unblock(namespace.Namespace, namespace.Holding),
		}
	case errors.As(err, &left) && left.Again:
		return &exit.Error{
			Code: exit.Failure, Err: err,
			Next: "Admission and the agent are deleted, and the other objects remain. Run uninstall again when the API server answers.",
		}
	case errors.As(err, &left):
		return &exit.Error{
			Code: exit.Failure, Err: err,
			Next: "Everything else is deleted. Fix the error of each node (an invalid field, or a policy or webhook that denies changes), then run uninstall again. Until then, these nodes keep the finalizer, and their deletion does not complete.",
		}
	case errors.Is(err, install.ErrAddedBack):
		return &exit.Error{
			Code: exit.Failure, Err: err,
			Next: "Stop that agent (it holds the lease nodecleanup-agent), then run uninstall again.",
		}
	}
	return err
}
