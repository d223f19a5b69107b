package main

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// The agent refuses to start with two plugins of one name.
func TestCatalogHasTheDefaultPluginsAndUniqueNames(t *testing.T) {
	count := map[string]int{}
	for _, descriptor := range catalog(plugins.Dependencies{}) {
		count[descriptor.Name]++
	}
	for _, descriptor := range plugins.Catalog(plugins.Dependencies{}) {
		if count[descriptor.Name] == 0 {
			t.Errorf("plugin %s of the default agent is missing", descriptor.Name)
		}
	}
	for name, number := range count {
		if number > 1 {
			t.Errorf("%d plugins have the name %s", number, name)
		}
	}
}
