package operate_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

type slackOptions struct {
	Channel string `json:"channel"`
}

// slack is a plugin that the CLI does not have.
type slack struct{}

func (slack) Cleanup(context.Context, cleanup.Target) error { return nil }

func withSlack(dependencies plugins.Dependencies) []cleanup.Descriptor {
	return append(plugins.Catalog(dependencies), cleanup.Descriptor{
		Name: "slack", Summary: "posts to a channel", Options: cleanup.OptionNames[slackOptions](),
		Bind: cleanup.Options(slackOptions{}, func(slackOptions) (cleanup.Plugin, error) { return slack{}, nil }),
	})
}

const drainAndSlack = `
steps:
- {name: drain, plugin: drain}
- {name: tell, plugin: slack, dependsOn: [drain], options: {channel: ops}}
`

func TestCLIAcceptsThePluginsOfTheAgent(t *testing.T) {
	f := setUp(t, drainAndSlack)
	f.node("worker", nil)
	f.run("plan", "worker").exits(exit.Failure).says(`unknown plugin "slack"`, "no agent has reported its plugins yet, so this CLI knows only its own plugins: drain, http, logger, volumes, webhook, aws-target-groups")
	f.startWith(withSlack)
	f.run("plan", "worker").exits(exit.OK).says("effects not known: this CLI does not have plugin slack", "cleanup --plan cannot run exactly this plan: step tell cannot be previewed",
		"Run it, without --plan: kubectl nodecleanup cleanup worker")
	f.run("plugins", "list").exits(exit.OK).says("slack     tell    posts to a channel")
	f.run("plugins", "describe", "slack").exits(exit.OK).says("slack: posts to a channel", "\n  channel\n", "only the agent has this plugin")
	var report printer.Checks
	f.run("check", "-o", "json").into(&report)
	if at := slices.IndexFunc(report.Checks, func(check printer.Check) bool { return check.ID == "config" }); at < 0 || report.Checks[at].Outcome != printer.Pass {
		t.Errorf("check of the config: %+v", report.Checks)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"+drainAndSlack), 0o600); err != nil {
		t.Fatal(err)
	}
	if installed := f.run("install", "--config", file, "--dry-run=server", "-n", f.namespace).exits(exit.OK); strings.Contains(installed.errOut, "WARNING") {
		t.Errorf("the install warns of a plugin that the agent has: %s", installed.errOut)
	}
	f.run("cleanup", "worker", "--yes", "--wait").exits(exit.OK).says("2/2 tell: done")

	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: tell, plugin: slack, options: {chanel: ops}}]\n")
	f.run("plan", "worker").exits(exit.Failure).says("steps[0].options.chanel: unknown option of plugin slack", "uses the last valid config")
}
