package rights

import (
	"slices"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// A step with default options needs no right that an install does not give.
func TestDefaultStepsNeedNoFurtherRights(t *testing.T) {
	given, err := OfAgent(t.Context(), "ns")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, descriptor := range plugins.Catalog(plugins.Dependencies{}) {
		plugin, faults := descriptor.Bind(nil)
		if len(faults) > 0 { // It has required options.
			plugin, faults = descriptor.Bind([]byte(`{"url":"https://inventory.example.com"}`))
		}
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		requirer, can := plugin.(cleanup.RuleRequirer)
		if !can {
			continue
		}
		for _, rule := range requirer.Rules() {
			for _, right := range access.Of(rule, "") {
				if asked++; !slices.Contains(given, right) {
					t.Errorf("plugin %s needs %s", descriptor.Name, access.Describe(right))
				}
			}
		}
	}
	if asked < 10 {
		t.Errorf("the plugins need %d rights: they were not read", asked)
	}
}
