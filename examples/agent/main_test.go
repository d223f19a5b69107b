package main

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func TestCatalogHasEveryPlugin(t *testing.T) {
	all := catalog(plugins.Dependencies{})
	if last := all[len(all)-1].Name; len(all) != len(plugins.Catalog(plugins.Dependencies{}))+1 || last != "inventory" {
		t.Errorf("the catalog has %d plugins, the last is %s", len(all), last)
	}
}
