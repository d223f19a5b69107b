// Package check is the command that checks an install, or whether a cluster is
// ready for one.
package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout
	Catalog func() []cleanup.Descriptor

	// Pre checks the requirements of an install instead of the install.
	Pre      bool
	List     bool
	FailOn   string
	Suppress []string
}

// New returns the command.
func New(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	o := &Options{Environment: environment, Catalog: catalog}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the install, or with --pre whether a cluster is ready for one",
		Long: `Check the install: the agent, its rights and version, the config, and the plugins.

The API server hides the errors of webhooks with failurePolicy Ignore. So check also
creates and deletes a node in a dry run: the new node must have the finalizer, and the
delete guard must answer. If possible, check reports whether the policy or the webhook
added the finalizer. The dry runs need the rights to create and delete nodes.

The command changes nothing. If you lack a right that a check needs, the command skips the
check and names the right.

Each check has an ID that stays the same; --list shows them. If a check fails, the exit
code is 3. With --fail-on=warning, a warning also counts as a failure. A cleanup that needs
an operator is a warning, because the install works; "status" exits with 3 for it.`,
		Example: `  kubectl nodecleanup check

  # Before an install
  kubectl nodecleanup check --pre

  # In a pipeline
  kubectl nodecleanup check --fail-on=warning --suppress shadowed -o json`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.Pre, "pre", false, "Check only whether the cluster is ready for an install")
	flags.BoolVar(&o.List, "list", false, "Only list the checks, without a cluster")
	flags.StringVar(&o.FailOn, "fail-on", string(printer.Error), "Lowest severity that makes the exit code 3: error or warning")
	flags.StringSliceVar(&o.Suppress, "suppress", nil, "IDs of checks whose failure is ignored")
	o.AddTimeout(flags, time.Minute)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	if o.FailOn != string(printer.Error) && o.FailOn != string(printer.Warning) {
		return exit.Usagef("unknown --fail-on=%s: it is error or warning", o.FailOn)
	}
	for _, id := range o.Suppress {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.id == id }) {
			return exit.Usagef("unknown check %q in --suppress: see check --list", id)
		}
	}
	return o.Output.Validate()
}

// Run checks and prints.
func (o *Options) Run(ctx context.Context) error {
	view := printer.NewChecks(o.ServerTime())
	var chosen []check
	for _, one := range checks {
		if o.List || !o.Pre || one.pre {
			chosen = append(chosen, one)
		}
	}
	if o.List {
		for _, one := range chosen {
			view.Checks = append(view.Checks, printer.Check{ID: one.id, Description: one.description})
		}
		return o.Print(o.Environment, view)
	}
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	on := &subject{client: clients.Typed, namespace: namespace, catalog: o.Catalog(), now: o.ServerTime}
	over := 0
	for _, one := range chosen {
		if !one.pre && one.id != "agent" && on.notInstalled(ctx) {
			continue // Each would say it again.
		}
		got := o.ask(ctx, on, one)
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded) && got.outcome != printer.Pass:
			// Its result is only the exceeded timeout, or the next attempt was not begun.
			over++
			got = skip(fmt.Errorf("not checked: --timeout %s expired", o.Limit))
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
			return ctx.Err()
		}
		view.Checks = append(view.Checks, resultOf(one, got))
	}
	view.Time = metav1.NewTime(o.ServerTime())
	blind := ""
	if !o.Pre {
		blind = unseen(view.Checks)
	}
	view.Passed = over == 0 && blind == "" && !slices.ContainsFunc(view.Checks, func(c printer.Check) bool {
		return c.Outcome == printer.Error || c.Outcome == printer.Warning && o.FailOn == string(printer.Warning)
	})
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	switch {
	case over > 0:
		return &exit.Error{
			Code: exit.TimedOut, Err: fmt.Errorf("checking: %d of %s not finished within %s", over, api.Count(len(chosen), "check"), o.Limit),
			Next: "Run it again with a longer --timeout.",
		}
	case blind != "":
		return &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("checking the install: every check was skipped: %s", blind),
			Next: "Ask a cluster administrator for the ClusterRole and the Role nodecleanup-viewer.",
		}
	case !view.Passed:
		return exit.Quiet(exit.Unhealthy)
	}
	return nil
}

// unseen returns the detail of the first check of the install if every one was skipped; else "".
func unseen(done []printer.Check) string {
	first := ""
	for _, one := range done {
		at := slices.IndexFunc(checks, func(c check) bool { return c.id == one.ID })
		switch {
		case checks[at].pre || one.ID == "operate-rights": // They are about the cluster and the caller.
		case one.Outcome != printer.Skip && one.Outcome != printer.Suppressed:
			return ""
		case first == "":
			first = one.Detail
		}
	}
	return first
}

// afterInstall are the checks that ask for nothing that an install needs some time for, or is
// about another component.
var afterInstall = []string{"agent", "leader", "version", "agent-rights", "config", "secrets", "certificate", "guard", "admission", "plugins", "cleanups"}

// AfterInstall checks a completed install.
func AfterInstall(ctx context.Context, client kubernetes.Interface, namespace string, catalog []cleanup.Descriptor, now func() time.Time) *printer.Checks {
	view := printer.NewChecks(now())
	on := &subject{client: client, namespace: namespace, catalog: catalog, now: now}
	for _, one := range checks {
		if slices.Contains(afterInstall, one.id) {
			view.Checks = append(view.Checks, resultOf(one, one.run(ctx, on)))
		}
	}
	view.Passed = !slices.ContainsFunc(view.Checks, func(c printer.Check) bool { return c.Outcome == printer.Error })
	return view
}

// MissingSecret names the Secrets that the config on the cluster uses and that do not exist or lack keys, and the
// commands that create them; empty if there is none, or that is not known.
func MissingSecret(ctx context.Context, client kubernetes.Interface, namespace string, catalog []cleanup.Descriptor) (detail, fix string) {
	got := secretsThere(ctx, &subject{client: client, namespace: namespace, catalog: catalog})
	if got.outcome != printer.Error {
		return "", ""
	}
	return got.detail, got.hint
}

// ask runs one check, while there is time.
func (o *Options) ask(ctx context.Context, on *subject, one check) result {
	if ctx.Err() != nil {
		return skip(ctx.Err())
	}
	got := one.run(ctx, on)
	if slices.Contains(o.Suppress, one.id) && got.outcome != printer.Pass {
		got.outcome = printer.Suppressed
	}
	return got
}

// resultOf turns the result of a check into the view.
func resultOf(one check, got result) printer.Check {
	return printer.Check{ID: one.id, Description: one.description, Outcome: got.outcome, Detail: oneLine(got.detail), Hint: got.hint}
}

// oneLine puts the lines of a detail behind one another.
func oneLine(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}
