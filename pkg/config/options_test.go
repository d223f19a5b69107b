package config

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type describedOptions struct {
	Colour string          `json:"colour"`
	Wait   metav1.Duration `json:"wait"`
	Rules  []struct {
		Action string `json:"action"`
		Order  int    `json:"order"`
	} `json:"rules"`
}

func TestOptionFaultsUseTheSchema(t *testing.T) {
	descriptor := cleanup.Descriptor{
		Name: "paint",
		Bind: cleanup.Options(describedOptions{}, func(describedOptions) (cleanup.Plugin, error) { return noPlugin{}, nil }),
		Schema: []byte(`{"$defs": {"duration": {"title": "duration"}}, "properties": {
			"colour": {"type": "string"}, "wait": {"$ref": "#/$defs/duration"},
			"rules": {"type": "array", "items": {"type": "object", "properties": {"action": {"type": "string"}, "order": {"type": "integer"}}}}}}`),
	}
	withoutSchema := descriptor
	withoutSchema.Schema, withoutSchema.Options = nil, []string{"colour", "wait", "rules"}
	for _, test := range []struct {
		descriptor    cleanup.Descriptor
		options, want string
	}{
		{descriptor, "{colr: red}", "options.colr: unknown option of plugin paint; did you mean colour? See: kubectl nodecleanup plugins describe paint"},
		{withoutSchema, "{colr: red}", "options.colr: unknown option of plugin paint; did you mean colour? See: kubectl nodecleanup plugins describe paint"},
		{descriptor, "{zzz: red}", "options.zzz: unknown option of plugin paint; see: kubectl nodecleanup plugins describe paint"},
		// Only an option of the same object is suggested.
		{descriptor, "{rules: [{order: 1}, {actoin: a}]}", "options.rules[1].actoin: unknown option of plugin paint; did you mean action? See"},
		{descriptor, "{rules: [{colr: a}]}", "options.rules[0].colr: unknown option of plugin paint; see"},
		{descriptor, "{actoin: a}", "options.actoin: unknown option of plugin paint; see"},
		{descriptor, "{colour: 3}", "options.colour: must be of type string, not number"},
		{descriptor, "{rules: [{order: many}]}", "options.rules.order: must be of type integer, not string"},
		// Types that decode themselves do not know which option they are.
		{descriptor, "{colour: red, wait: long}", `options.wait: time: invalid duration "long"`},
		{descriptor, "{wait: 3}", "options.wait: must be of type duration, not number"},
	} {
		_, err := Parse([]byte(header+"steps:\n- {name: a, plugin: paint, options: "+test.options+"}\n"), []cleanup.Descriptor{test.descriptor})
		if err == nil || !strings.HasPrefix(err.Error(), "line 4: steps[0]."+test.want) {
			t.Errorf("%s: %v, want %s", test.options, err, test.want)
		}
	}
}
