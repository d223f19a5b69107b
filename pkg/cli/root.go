// Package cli is the command tree.
package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/bypass"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/check"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/completion"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/dashboard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/diagnose"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/history"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/nodes"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/pause"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preflight"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/retry"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/status"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/uninstall"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/version"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/webhookauth"
)

// New returns the whole tree. Nothing is asked of a cluster to build it.
func New(environment *command.Environment) *cobra.Command {
	root := &cobra.Command{
		Use:         "nodecleanup",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl nodecleanup"},
		Short:       "Keep a deleted node until its cleanup is done",
		Long: `Keep a deleted node until its cleanup is done: pods evicted, volumes detached, external systems notified.

The agent adds a finalizer to every node that the config selects. When such a node is
deleted, the agent runs the steps of the config, and then removes the finalizer.`,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without it cobra suggests only commands that begin the same.
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	environment.Cluster.AddFlags(root.PersistentFlags())

	root.SetHelpCommandGroupID("setup")
	group(root, "setup", "Set up:",
		install.New(environment, catalog),
		uninstall.New(environment),
		version.New(environment),
		completion.New(environment),
		webhookauth.New(environment),
	)
	group(root, "look", "Show the state:",
		status.New(environment),
		dashboard.New(environment),
		check.New(environment, catalog),
		nodes.New(environment),
		history.New(environment),
		plan.New(environment),
		diagnose.New(environment),
		preflight.New(environment),
		plugins.New(environment, catalog),
		config.New(environment, catalog),
	)
	group(root, "act", "Act on nodes:",
		cleanup.New(environment),
		retry.New(environment),
		bypass.New(environment),
		pause.New(environment),
		pause.NewResume(environment),
	)
	root.AddCommand(options(environment))
	// Not by a template of usage: text/template alone would make the program a third larger.
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		if err := usage(cmd); err != nil {
			return err
		}
		_, err := fmt.Fprint(cmd.OutOrStderr(), optionsFooter)
		return err
	})
	return root
}

const optionsFooter = `
Use "kubectl nodecleanup options" for a list of the flags that every command takes.
`

// Execute runs the command that the arguments name and reports its error. The returned error
// determines the exit code.
func Execute(ctx context.Context, streams genericiooptions.IOStreams, arguments []string) error {
	environment := command.NewEnvironment(streams)
	root := New(environment)
	root.SetArgs(arguments)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Usagef("%s: %w", cmd.CommandPath(), err)
	})
	// The command reports the errors of requests, so client-go must not log them.
	err := root.ExecuteContext(klog.NewContext(ctx, klog.Logger{}))
	command.Report(streams.ErrOut, exit.Explain(ctx, err))
	return err
}

func group(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, one := range commands {
		one.GroupID = id
		root.AddCommand(one)
	}
}

func noSuchCommand(root *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return nil
	}
	err := &exit.Error{
		Code: exit.Usage,
		Err:  fmt.Errorf("there is no command %q", arguments[0]),
		Next: "List the commands: " + root.CommandPath() + " --help",
	}
	if similar := root.SuggestionsFor(arguments[0]); len(similar) > 0 {
		err.Next = "Did you mean: " + strings.Join(similar, ", ") + "?"
	}
	return err
}
