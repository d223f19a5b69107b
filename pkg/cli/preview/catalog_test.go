package preview

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func TestConfigIsValidatedAgainstTheAgentPlugins(t *testing.T) {
	paging := api.PluginInfo{Name: "paging", Summary: "posts to a channel", Critical: true, Timeout: metav1.Duration{Duration: time.Minute}, Options: []string{"channel"}}
	logger := api.PluginInfo{Name: "logger", Options: []string{"message", "level", "colour"}}
	reported := func(infos ...api.PluginInfo) *api.AgentStatus { return &api.AgentStatus{Version: "v1", Catalog: infos} }
	silent := paging
	silent.Options = nil
	for name, test := range map[string]struct {
		status *api.AgentStatus
		step   string
		// fault is part of the error, note of the catalog's note; absent, whether the CLI lacks the plugin.
		fault, note string
		absent      bool
	}{
		"a plugin that only the agent has":    {status: reported(paging, logger), step: "{name: a, plugin: paging, options: {channel: ops}}", absent: true},
		"an option that it does not have":     {status: reported(paging, logger), step: "{name: a, plugin: paging, options: {chanel: ops}}", fault: "steps[0].options.chanel: unknown option of plugin paging"},
		"one that does not name its options":  {status: reported(silent), step: "{name: a, plugin: paging, options: {any: 1}}", absent: true},
		"a plugin that only the CLI has":      {status: reported(paging, logger), step: "{name: a, plugin: http, options: {url: \"http://a\"}}", fault: `unknown plugin "http"; known plugins: paging, logger`},
		"a plugin of both":                    {status: reported(paging, logger), step: "{name: a, plugin: logger, options: {level: warn}}"},
		"a value that the CLI can check":      {status: reported(paging, logger), step: "{name: a, plugin: logger, options: {level: loud}}", fault: `level string "loud"`},
		"an option that only the agent's has": {status: reported(paging, logger), step: "{name: a, plugin: logger, options: {colour: red}}", absent: true},
		"an option that neither has":          {status: reported(paging, logger), step: "{name: a, plugin: logger, options: {size: 1}}", fault: "steps[0].options.size: unknown option of plugin logger"},
		"no agent yet":                        {step: "{name: a, plugin: paging}", fault: `unknown plugin "paging"`, note: "no agent has reported its plugins yet, so this CLI knows only its own plugins: " + strings.Join(namesOf(plugins.Catalog(plugins.Dependencies{})), ", ")},
		"a pause before the first agent":      {status: &api.AgentStatus{}, step: "{name: a, plugin: logger}", note: "no agent has reported its plugins yet"},
		"an older agent":                      {status: &api.AgentStatus{Version: "v0.9"}, step: "{name: a, plugin: logger}", note: "the agent (v0.9) does not report its plugins"},
	} {
		catalog := catalogOf(test.status, plugins.Catalog(plugins.Dependencies{}))
		settings, err := config.Parse([]byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n- "+test.step+"\n"), catalog.Plugins)
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: the error is %v, want %q", name, err, test.fault)
		}
		if (catalog.Note == "") != (test.note == "") || !strings.Contains(catalog.Note, test.note) {
			t.Errorf("%s: the note is %q, want %q", name, catalog.Note, test.note)
		}
		if err != nil {
			continue
		}
		step := settings.Steps[0]
		if _, absent := step.Bound.(Absent); absent != test.absent {
			t.Errorf("%s: the plugin is %T", name, step.Bound)
		}
		if step.Plugin == "paging" && (!step.Critical || step.Timeout != time.Minute) {
			t.Errorf("%s: the step is %+v", name, step)
		}
	}
}

func TestInstalledAgentHasThePluginsOfTheCLI(t *testing.T) {
	own := plugins.Catalog(plugins.Dependencies{})
	catalog := catalogOf(&api.AgentStatus{Version: "v1", Catalog: []api.PluginInfo{{Name: "paging"}, {Name: "drain"}}}, own).With(own)
	// The agent's come first.
	want := append([]string{"paging", "drain"}, slices.DeleteFunc(namesOf(own), func(name string) bool { return name == "drain" })...)
	if got := namesOf(catalog.Plugins); !slices.Equal(got, want) {
		t.Errorf("the plugins are %q, want %q", got, want)
	}
}

func namesOf(plugins []cleanup.Descriptor) []string {
	var names []string
	for _, plugin := range plugins {
		names = append(names, plugin.Name)
	}
	return names
}
