package agent_test

import (
	"context"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// with returns the options of an agent that has one more plugin.
func (f *fixture) with(name string, plugin cleanup.Plugin) agent.Options {
	options := f.options()
	catalog := options.Catalog
	options.Catalog = func(dependencies plugins.Dependencies) []cleanup.Descriptor {
		return append(catalog(dependencies), cleanup.Descriptor{
			Name: name, Defaults: cleanup.Policy{Critical: true, Timeout: time.Minute},
			Bind: cleanup.Options(probeOptions{}, func(probeOptions) (cleanup.Plugin, error) { return plugin, nil }),
		})
	}
	return options
}

// breaks is a plugin whose preview panics.
type breaks struct{ probe }

func (breaks) Preview(context.Context, cleanup.Target) ([]cleanup.Effect, error) { panic("nil map") }

// healthy is a plugin that is asked how it is.
type healthy struct {
	probe
	check func(context.Context) error
}

func (h healthy) CheckHealth(ctx context.Context) error { return h.check(ctx) }
