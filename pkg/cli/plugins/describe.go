package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

func describe(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "describe NAME",
		Short: "Show the options of a plugin, an example, and the rights it needs",
		Long: `Show the options of a plugin with their types and defaults, an example step, and the
rights that a step with the default options needs or can use.

For the plugins of the released agent, the command contacts no cluster. For a plugin that
only a custom agent has, it shows what the agent reports: the names of the options.`,
		Example: `  kubectl nodecleanup plugins describe drain

  # The options as a table
  kubectl nodecleanup plugins describe http -o wide`,
		Args: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) != 1 {
				return exit.Usagef("%s takes the name of one plugin", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(arguments) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names(catalog()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.describe(cmd.Context(), catalog(), arguments[0])
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

func names(catalog []cleanup.Descriptor) []string {
	var names []string
	for _, descriptor := range catalog {
		names = append(names, descriptor.Name)
	}
	return names
}

func (o *Options) describe(ctx context.Context, own []cleanup.Descriptor, name string) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	known, note := own, ""
	if !slices.Contains(names(own), name) {
		clients, namespace, err := o.Cluster.Connect(ctx)
		if err != nil {
			o.Say("The plugins of the agent are not known: %v", err)
		} else {
			catalog := preview.ReadCatalog(ctx, clients.Typed, namespace, own)
			known, note = catalog.Plugins, catalog.Note
		}
	}
	at := slices.Index(names(known), name)
	if at < 0 {
		missing := &exit.Error{Code: exit.Failure, Err: fmt.Errorf("there is no plugin %q", name), Next: "See the plugins: kubectl nodecleanup plugins list"}
		if note != "" {
			missing.Err = fmt.Errorf("there is no plugin %q: %s", name, note)
		}
		if closest := config.Closest(name, names(known)); closest != "" {
			missing.Next = "Did you mean: kubectl nodecleanup plugins describe " + closest + "? " + missing.Next
		}
		return missing
	}
	view, err := view(known[at])
	if err != nil {
		return fmt.Errorf("describing plugin %s: %w", name, err)
	}
	return o.Print(o.Environment, view)
}

// view describes a plugin.
func view(descriptor cleanup.Descriptor) (*printer.Plugin, error) {
	view := printer.NewPlugin(descriptor.Name)
	view.Summary, view.Critical = descriptor.Summary, descriptor.Defaults.Critical
	view.TimeoutSeconds = int64(timeout(descriptor).Seconds())
	if descriptor.Schema == nil {
		view.Note = "only the agent has this plugin, and it reports no types of the options"
		for _, name := range descriptor.OptionNames() {
			view.Options = append(view.Options, schema.Option{Name: name})
		}
		return view, nil
	}
	var err error
	if view.Options, err = schema.Options(descriptor.Schema); err != nil {
		return nil, err
	}
	example, err := schema.Example(descriptor.Schema)
	if err != nil {
		return nil, err
	}
	if view.Example, err = step(descriptor.Name, example); err != nil {
		return nil, err
	}
	plugin, err := bound(descriptor, example)
	if err != nil {
		return nil, err
	}
	view.Abilities = abilities(plugin)
	if descriptor.BindNotifier != nil {
		view.Abilities = append(view.Abilities, "notifications")
	}
	if needs, is := plugin.(cleanup.RuleRequirer); is {
		view.Rules = needs.Rules()
	}
	if uses, is := plugin.(cleanup.OptionalRuleRequirer); is {
		view.OptionalRules = uses.OptionalRules()
	}
	if runner, is := plugin.(cleanup.PodRunner); is {
		run := runner.RunsPods()
		view.Config = fmt.Sprintf("jobs:\n- {namespace: %s, serviceAccounts: [%s]}\n", run.Namespace, run.ServiceAccountName)
	}
	if needs, is := plugin.(cleanup.NamespaceRuleRequirer); is {
		view.NamespaceRules = needs.NamespaceRules()
	}
	return view, nil
}

// bound returns the plugin with its default options or, if it has required ones, with those of the example:
// as a step or, for a plugin that only notifies, as a notification.
func bound(descriptor cleanup.Descriptor, example map[string]any) (any, error) {
	bind := func(options []byte) (any, []error) { return descriptor.Bind(options) }
	if descriptor.Bind == nil {
		bind = func(options []byte) (any, []error) { return descriptor.BindNotifier(options) }
	}
	plugin, faults := bind(nil)
	if len(faults) == 0 {
		return plugin, nil
	}
	options, err := json.Marshal(example)
	if err != nil {
		return nil, err
	}
	if plugin, faults = bind(options); len(faults) > 0 {
		return nil, fmt.Errorf("its example: %w", faults[0])
	}
	return plugin, nil
}

// step returns a step in YAML, in the order in which people write it.
func step(plugin string, options map[string]any) (string, error) {
	text := fmt.Sprintf("- name: %s\n  plugin: %[1]s\n", plugin)
	if len(options) == 0 {
		return text, nil
	}
	written, err := yaml.Marshal(map[string]any{"options": options})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(written)) {
		text += "  " + line
	}
	return text, nil
}

// abilities names the optional interfaces of a plugin.
func abilities(plugin any) []string {
	var found []string
	add := func(name string, has bool) {
		if has {
			found = append(found, name)
		}
	}
	_, is := plugin.(cleanup.NodeFilter)
	add("selects nodes", is)
	_, is = plugin.(cleanup.HealthChecker)
	add("health check", is)
	_, is = plugin.(cleanup.Previewer)
	add("preview", is)
	_, is = plugin.(cleanup.Verifier)
	add("verification", is)
	_, is = plugin.(cleanup.Withdrawer)
	add("withdrawal", is)
	_, is = plugin.(cleanup.OutputNamer)
	add("outputs", is)
	return found
}
