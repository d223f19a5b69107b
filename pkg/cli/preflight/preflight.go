package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	// Node limits the check to the steps of the node's plan, and adds the blockers of these steps.
	Node string
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "preflight [NODE]",
		Short: "Run every plugin's health check",
		Long: `Run every plugin's health check in the agent, with the agent's rights and Secrets: that of
each step and of each notification. The command runs no step and sends no message. With a
node, it checks only the plugins of its plan, and reports everything that would block the
plan.

The exit code is 3 when the plugin of a critical step is unhealthy, and 4 when
something would block the plan of the node. No cleanup depends on a notification, so an
unhealthy one does not change the exit code.`,
		Example: `  kubectl nodecleanup preflight

  # Before a node is deleted
  kubectl nodecleanup preflight ip-10-0-7`,
		Args:              command.AtMostOneNode,
		ValidArgsFunction: environment.CompleteNode,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				o.Node = command.NodeName(arguments[0])
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
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

// Run asks and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	var plan *printer.Plan
	if o.Node != "" {
		node, err := command.Node(ctx, clients.Typed, o.Node)
		if err != nil {
			return err
		}
		previewer, err := preview.Load(ctx, clients.Typed, namespace, o.ServerTime)
		if err != nil {
			return err
		}
		if plan, err = previewer.Plan(ctx, node); err != nil {
			return err
		}
	}
	status, err := Ask(ctx, clients.Typed, namespace, o.ServerTime)
	if err != nil {
		return err
	}
	view := View(status, namespace, o.ServerTime(), func(said api.PluginHealth) bool {
		return plan == nil || slices.ContainsFunc(plan.Steps, func(step printer.PlanStep) bool { return step.Name == said.Step })
	}, func(api.NotificationHealth) bool { return plan == nil })
	view.Asked = true
	if err := AddRepair(ctx, clients.Typed, namespace, o.ServerTime, view); err != nil {
		return err
	}
	if plan != nil {
		view.Blocked, view.Unprotected, view.Notes = plan.Blocked, plan.Unprotected, append(view.Notes, plan.Notes...)
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	return Verdict(view)
}

// View turns the agent's status into a view of the wanted steps and notifications. A nil notifications wants
// none.
func View(status *api.AgentStatus, namespace string, now time.Time, wanted func(api.PluginHealth) bool, notifications func(api.NotificationHealth) bool) *printer.Plugins {
	view := printer.NewPlugins(now)
	missing := access.Grants{}
	for _, said := range status.Plugins {
		if wanted(said) {
			view.Plugins = append(view.Plugins, inspect.Plugin(said))
			missing.Add(access.Reported(said.MissingRules, said.MissingNamespaceRules))
		}
	}
	for _, said := range status.Notifications {
		if notifications(said) {
			view.Notifications = append(view.Notifications, inspect.Notification(said))
			missing.Add(access.Reported(said.MissingRules, nil))
		}
	}
	if status.ConfigError != "" {
		view.Notes = append(view.Notes, fmt.Sprintf("these are the plugins of the last valid config, %s, because the agent refuses the newest one: see kubectl nodecleanup status", status.ConfigHash))
	}
	if !missing.Empty() {
		view.Manifest = access.Manifest(namespace, missing)
	}
	return view
}

// AddRepair adds what the agent lacks for the plugins of the view, and the command that gives it its rights
// again. A user who may not read the roles gets the manifest alone. Now is the API server's time.
func AddRepair(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, view *printer.Plugins) error {
	snapshot, err := inspect.NewReader(client, namespace, now).Agent(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return err
	case len(snapshot.MissingGrants) == 0 && view.Manifest == "":
		return nil
	}
	if len(snapshot.MissingGrants) > 0 || grantedByInstall(view) {
		view.Remedy = inspect.Regrant(ctx, client, namespace, inspect.Assess(snapshot, version.Version, now()).Agent)
	}
	if len(snapshot.MissingGrants) > 0 {
		// The command restores the objects. Other roles would remain beside them.
		view.Lacks, view.Manifest = access.Lacking(strings.Join(snapshot.MissingGrants, ", ")), ""
	}
	return nil
}

// grantedByInstall reports whether an install grants rights that a plugin of the view lacks. It does not know
// those of the plugins of a custom agent.
func grantedByInstall(view *printer.Plugins) bool {
	known := func(name string) bool {
		return slices.ContainsFunc(plugins.All(plugins.Dependencies{}), func(descriptor cleanup.Descriptor) bool { return descriptor.Name == name })
	}
	return slices.ContainsFunc(view.Plugins, func(plugin printer.PluginHealth) bool {
		return len(plugin.MissingRules)+len(plugin.MissingNamespaceRules) > 0 && known(plugin.Plugin)
	}) || slices.ContainsFunc(view.Notifications, func(one printer.NotificationHealth) bool { return len(one.MissingRules) > 0 && known(one.Plugin) })
}

// Verdict chooses the exit code.
func Verdict(view *printer.Plugins) error {
	for _, plugin := range view.Plugins {
		if plugin.Critical && plugin.Error != "" {
			return exit.Quiet(exit.Unhealthy)
		}
	}
	if len(view.Blocked) > 0 {
		return exit.Quiet(exit.Blocked)
	}
	return nil
}
