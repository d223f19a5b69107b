package cli

import (
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// catalog returns the plugins of the released agents. It only checks configs, for which the plugins
// need no dependencies.
func catalog() []cleanup.Descriptor {
	return plugins.All(plugins.Dependencies{})
}
