package cli

import (
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// catalog is that of the released agent. It only serves to check a config, for
// which the plugins need nothing of what they work with.
func catalog() []cleanup.Descriptor {
	return plugins.Catalog(plugins.Dependencies{})
}
