package agent

import (
	"log/slog"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func TestCheckCatalog(t *testing.T) {
	bind := func([]byte) (cleanup.Plugin, []error) { return nil, nil }
	own := func(name string) cleanup.Descriptor { return cleanup.Descriptor{Name: name, Summary: "s", Bind: bind} }
	for want, catalog := range map[string][]cleanup.Descriptor{
		"": append(plugins.Catalog(plugins.Dependencies{}), own("inventory")),
		"checking the catalog of plugins: several plugins have the name http: rename your own":                                               append(plugins.Catalog(plugins.Dependencies{}), own("http"), own("http")),
		"checking the catalog of plugins: the plugin with the summary \"s\" has no name\nplugin inventory has neither Bind nor BindNotifier": {own(""), {Name: "inventory"}},
	} {
		got := ""
		if err := checkCatalog(catalog); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// The agent reports it before it asks the API server anything: this one does not exist.
func TestRunRefusesTwoPluginsOfOneName(t *testing.T) {
	err := Run(t.Context(), Options{
		REST: &rest.Config{Host: "https://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler), Namespace: "a", Identity: "a",
		Catalog: func(d plugins.Dependencies) []cleanup.Descriptor {
			return append(plugins.Catalog(d), plugins.Catalog(d)...)
		},
	})
	if err == nil || !strings.Contains(err.Error(), "several plugins have the name drain: rename your own") {
		t.Errorf("the error is %v", err)
	}
}
