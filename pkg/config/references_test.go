package config

import (
	"context"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type ticketOptions struct {
	Title cleanup.Template `json:"title"`
	More  []struct {
		Text cleanup.Template `json:"text"`
	} `json:"more"`
}

type ticketPlugin struct{ names []string }

func (ticketPlugin) Cleanup(context.Context, cleanup.Target) error { return nil }

func (p ticketPlugin) OutputNames() []string { return p.names }

func TestReferencesToOutputs(t *testing.T) {
	plugins := catalog()
	for name, names := range map[string][]string{"ticket": {"number", "url"}, "any": nil} {
		plugins = append(plugins, cleanup.Descriptor{
			Name: name,
			Bind: cleanup.Options(ticketOptions{}, func(ticketOptions) (cleanup.Plugin, error) { return ticketPlugin{names}, nil }),
		})
	}
	const header = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps:\n- {name: open, plugin: ticket}\n- {name: free, plugin: any}\n- {name: paint, plugin: paint}\n- {name: between, plugin: ticket, dependsOn: [open]}\n"
	for step, want := range map[string]string{
		"{name: tell, plugin: ticket, dependsOn: [open], options: {title: 'see ${steps.open.outputs.number}'}}":               "",
		"{name: tell, plugin: ticket, dependsOn: [between], options: {title: '${steps.open.outputs.url}'}}":                   "",
		"{name: tell, plugin: ticket, dependsOn: [free], options: {title: '${steps.free.outputs.whatever}'}}":                 "",
		"{name: tell, plugin: ticket, options: {title: '$${steps.nobody.outputs.url}'}}":                                      "",
		"{name: tell, plugin: ticket, options: {title: '${steps.opn.outputs.url}'}}":                                          `line 8: steps[4].options.title: ${steps.opn.outputs.url}: there is no step "opn"; did you mean open?`,
		"{name: tell, plugin: ticket, options: {title: '${steps.open.outputs.url}'}}":                                         `line 8: steps[4].options.title: ${steps.open.outputs.url}: step "tell" must depend on step "open": add it to dependsOn`,
		"{name: tell, plugin: ticket, options: {title: '${steps.tell.outputs.url}'}}":                                         `step "tell" must depend on step "tell"`,
		"{name: tell, plugin: ticket, dependsOn: [open], options: {more: [{text: a}, {text: '${steps.open.outputs.urls}'}]}}": `steps[4].options.more[1].text: ${steps.open.outputs.urls}: step "open" has no output "urls"; did you mean url?`,
		"{name: tell, plugin: ticket, dependsOn: [paint], options: {title: '${steps.paint.outputs.url}'}}":                    `plugin paint of step "paint" has no outputs`,
	} {
		_, err := Parse([]byte(header+"- "+step+"\n"), plugins)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", step, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", step, err, want)
		}
	}
}
