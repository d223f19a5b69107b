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

type pagingOptions struct {
	Channel string `json:"channel"`
}

// paging is a plugin that the CLI does not have.
type paging struct{}

func (paging) Cleanup(context.Context, cleanup.Target) error { return nil }

func withPaging(dependencies plugins.Dependencies) []cleanup.Descriptor {
	return append(plugins.Catalog(dependencies), cleanup.Descriptor{
		Name: "paging", Summary: "posts to a channel", Options: cleanup.OptionNames[pagingOptions](),
		Bind: cleanup.Options(pagingOptions{}, func(pagingOptions) (cleanup.Plugin, error) { return paging{}, nil }),
	})
}

const drainAndPaging = `
steps:
- {name: drain, plugin: drain}
- {name: tell, plugin: paging, dependsOn: [drain], options: {channel: ops}}
`

func TestCLIAcceptsThePluginsOfTheAgent(t *testing.T) {
	f := setUp(t, drainAndPaging)
	f.node("worker", nil)
	f.run("plan", "worker").exits(exit.Failure).says(`unknown plugin "paging"`, "no agent has reported its plugins yet, so this CLI knows only its own plugins: ")
	f.startWith(withPaging)
	f.run("plan", "worker").exits(exit.OK).says("effects not known: this CLI does not have plugin paging", "cleanup --plan cannot run exactly this plan: step tell cannot be previewed",
		"Run it, without --plan: kubectl nodecleanup cleanup worker")
	f.run("plugins", "list").exits(exit.OK).says("paging ", "tell    posts to a channel")
	f.run("plugins", "describe", "paging").exits(exit.OK).says("paging: posts to a channel", "\n  channel\n", "only the agent has this plugin")
	var report printer.Checks
	f.run("check", "-o", "json").into(&report)
	if at := slices.IndexFunc(report.Checks, func(check printer.Check) bool { return check.ID == "config" }); at < 0 || report.Checks[at].Outcome != printer.Pass {
		t.Errorf("check of the config: %+v", report.Checks)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"+drainAndPaging), 0o600); err != nil {
		t.Fatal(err)
	}
	if installed := f.run("install", "--config", file, "--dry-run=server", "-n", f.namespace).exits(exit.OK); strings.Contains(installed.errOut, "WARNING") {
		t.Errorf("the install warns of a plugin that the agent has: %s", installed.errOut)
	}
	f.run("cleanup", "worker", "--yes", "--wait").exits(exit.OK).says("2/2 tell: done")

	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: tell, plugin: paging, options: {chanel: ops}}]\n")
	f.run("plan", "worker").exits(exit.Failure).says("steps[0].options.chanel: unknown option of plugin paging", "uses the last valid config")
}
