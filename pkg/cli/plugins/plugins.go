// Package plugins is the command that lists plugins and shows their health.
package plugins

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preflight"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the commands.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout
}

// New returns the command with its sub-commands. The catalog lists the plugins.
func New(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	parent := &cobra.Command{
		Use:   "plugins",
		Short: "List, describe and test plugins, and show the health of those in the config",
		Args:  command.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(list(environment, catalog), describe(environment, catalog), status(environment), test(environment), conform(environment))
	return parent
}

func list(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the plugins that a config can name",
		Long: `List the plugins that a config can name, and the steps and notifications of the config on
the cluster that use each. The agent reports its plugins. If no agent has reported them
yet, these are the plugins of this CLI's version.`,
		Example: `  kubectl nodecleanup plugins list`,
		Args:    command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.list(cmd.Context(), catalog())
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

func status(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the last health check of each step and notification",
		Long: `Show the last health check of the plugin of each step and notification. The leader checks
every minute. The command only reads. The exit code is 3 when the plugin of a critical
step is unhealthy.`,
		Example: `  kubectl nodecleanup plugins status`,
		Args:    command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.status(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

func test(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "test STEP|NOTIFICATION|PLUGIN",
		Short: "Run the health check of one step or notification, or of one plugin in each of them, now",
		Long: `Run the health check of one step or notification now, or of one plugin in every step and
notification that uses it. The agent runs the check, but no step, and sends no message.
The exit code is 3 when a plugin is unhealthy, even if the step is not critical.

The plugin http opens a connection, with TLS and through the proxy, and sends no request.
So "ok" does not prove that the service accepts the credentials or the request.`,
		Example: `  kubectl nodecleanup plugins test deregister-lb`,
		Args: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) != 1 {
				return exit.Usagef("%s takes the name of one step, notification or plugin", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: environment.CompletePlugins,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.test(cmd.Context(), arguments[0])
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

func (o *Options) validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	return o.Output.Validate()
}

func (o *Options) list(ctx context.Context, catalog []cleanup.Descriptor) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	known, using := o.using(ctx, catalog)
	view := printer.NewCatalog()
	for _, descriptor := range known {
		view.Plugins = append(view.Plugins, printer.CatalogPlugin{
			Name: descriptor.Name, Summary: descriptor.Summary, Critical: descriptor.Defaults.Critical,
			TimeoutSeconds: int64(timeout(descriptor).Seconds()), Steps: using[descriptor.Name],
		})
	}
	return o.Print(o.Environment, view)
}

// timeout returns the default timeout of a step.
func timeout(descriptor cleanup.Descriptor) time.Duration {
	if descriptor.Defaults.Timeout == 0 {
		return config.DefaultTimeout
	}
	return descriptor.Defaults.Timeout
}

// using returns the plugins of the agent, and the steps and notifications that use each. The list is useful
// without a cluster, too, so errors are only reported.
func (o *Options) using(ctx context.Context, own []cleanup.Descriptor) (known []cleanup.Descriptor, using map[string][]string) {
	known, using = own, map[string][]string{}
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err == nil {
		catalog := preview.ReadCatalog(ctx, clients.Typed, namespace, own)
		if known = catalog.Plugins; catalog.Note != "" {
			o.Say("Note: %s", catalog.Note)
		}
		var settings *config.Config
		if settings, err = catalog.Config(ctx, clients.Typed, namespace); err == nil {
			for _, step := range settings.Steps {
				using[step.Plugin] = append(using[step.Plugin], step.Name)
			}
			for _, notification := range settings.Notifications {
				using[notification.Plugin] = append(using[notification.Plugin], "notification "+notification.Name)
			}
			return known, using
		}
	}
	o.Say("Cannot read which steps use these plugins: %v", err)
	return known, using
}

func (o *Options) status(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	said, err := cluster.AgentStatus(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	if said == nil {
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("reading the agent's status: there is no configmap %s in namespace %s, so no agent has led there yet", api.StatusName, namespace),
			Next: "Show the state of the agent: kubectl nodecleanup status",
		}
	}
	if !command.HasLeader(ctx, clients.Typed, namespace, o.ServerTime) {
		why, remedy := preflight.WhyNoLeader(ctx, clients.Typed, namespace, o.ServerTime)
		o.Say("WARNING: these results are from the previous leader, because no agent in namespace %s is the leader%s.\nNext: %s", namespace, why, remedy)
	}
	view := preflight.View(said, namespace, o.ServerTime(), func(api.PluginHealth) bool { return true }, func(api.NotificationHealth) bool { return true })
	if err := preflight.AddRepair(ctx, clients.Typed, namespace, o.ServerTime, view); err != nil {
		return err
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	return preflight.Verdict(view)
}

// meant suggests the step, notification or plugin whose name is closest to a misspelled one.
func meant(name string, said *api.AgentStatus) string {
	var known []string
	for _, one := range said.Plugins {
		known = append(known, one.Step, one.Plugin)
	}
	for _, one := range said.Notifications {
		known = append(known, one.Notification, one.Plugin)
	}
	if closest := config.Closest(name, known); closest != "" {
		return "Did you mean: kubectl nodecleanup plugins test " + closest + "? "
	}
	return ""
}

func (o *Options) test(ctx context.Context, name string) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	said, err := preflight.Ask(ctx, clients.Typed, namespace, o.ServerTime)
	if apierrors.IsForbidden(err) {
		return &exit.Error{Code: exit.Failure, Err: err, Next: "You need the right to patch configmap " + api.StatusName + ". To show the last results instead: kubectl nodecleanup plugins status"}
	}
	if err != nil {
		return err
	}
	view := preflight.View(said, namespace, o.ServerTime(),
		func(one api.PluginHealth) bool { return one.Step == name || one.Plugin == name },
		func(one api.NotificationHealth) bool { return one.Notification == name || one.Plugin == name })
	view.Asked = true
	if len(view.Plugins)+len(view.Notifications) == 0 {
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("testing %s: the config has no step or notification with this name, and none that uses such a plugin", name),
			Next: meant(name, said) + "List the steps: kubectl nodecleanup plugins status",
		}
	}
	if err := preflight.AddRepair(ctx, clients.Typed, namespace, o.ServerTime, view); err != nil {
		return err
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	for _, plugin := range view.Plugins {
		if plugin.Error != "" {
			return exit.Quiet(exit.Unhealthy)
		}
	}
	for _, one := range view.Notifications {
		if one.Error != "" {
			return exit.Quiet(exit.Unhealthy)
		}
	}
	return nil
}
