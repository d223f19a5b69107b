// Command agent is an example of an agent with a plugin of your own. See docs/plugins.md.
package main

import (
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/program"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"

	"github.com/nodecleanup/kubectl-nodecleanup/examples/agent/inventory"
)

func main() { program.Main(catalog) }

// catalog lists the plugins of the default agent and your own.
func catalog(d plugins.Dependencies) []cleanup.Descriptor {
	return slices.Concat(plugins.Catalog(d), []cleanup.Descriptor{inventory.Descriptor(d.HTTP, d.Secrets)})
}
