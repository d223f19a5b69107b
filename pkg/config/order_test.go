package config

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestStepsThatMustRunBeforeADrain(t *testing.T) {
	bind := cleanup.Options(struct{}{}, func(struct{}) (cleanup.Plugin, error) { return drainPlugin{}, nil })
	plugins := append(catalog(),
		cleanup.Descriptor{Name: "drain", Bind: bind},
		cleanup.Descriptor{Name: "store", Bind: bind, BeforeDrain: "a drain evicts its Pods"},
	)
	for name, test := range map[string]struct{ steps, want string }{
		"before":            {"- {name: move, plugin: store}\n- {name: drain, plugin: drain, dependsOn: [move]}\n", ""},
		"before, with more": {"- {name: move, plugin: store}\n- {name: between, plugin: tell, dependsOn: [move]}\n- {name: drain, plugin: drain, dependsOn: [between]}\n", ""},
		"without a drain":   {"- {name: move, plugin: store}\n", ""},
		"after": {
			"- {name: drain, plugin: drain}\n- {name: move, plugin: store, dependsOn: [drain]}\n",
			`line 5: steps[1].dependsOn: step "move" (plugin store) runs after step "drain": a drain evicts its Pods. Remove that dependency, and add "move" to dependsOn of "drain"`,
		},
		"after, through another step": {
			"- {name: drain, plugin: drain}\n- {name: between, plugin: tell, dependsOn: [drain]}\n- {name: move, plugin: store, dependsOn: [between]}\n",
			`line 6: steps[2].dependsOn: step "move" (plugin store) runs after step "drain": a drain evicts its Pods. Remove that dependency, and add "move" to dependsOn of "drain"`,
		},
		"at the same time": {
			"- {name: move, plugin: store}\n- {name: drain, plugin: drain}\n",
			`line 4: steps[0].dependsOn: step "move" (plugin store) does not run before step "drain": a drain evicts its Pods. Add "move" to dependsOn of "drain"`,
		},
		"before one of two": {
			"- {name: move, plugin: store}\n- {name: one, plugin: drain, dependsOn: [move]}\n- {name: two, plugin: drain}\n",
			`line 4: steps[0].dependsOn: step "move" (plugin store) does not run before step "two": a drain evicts its Pods. Add "move" to dependsOn of "two"`,
		},
	} {
		settings, err := Parse([]byte(header+"steps:\n"+test.steps), plugins)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := settings.Warnings.Error(); got != test.want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", name, got, test.want)
		}
	}
}
