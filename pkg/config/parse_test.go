package config

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type noPlugin struct{ color string }

func (noPlugin) Cleanup(context.Context, cleanup.Target) error { return nil }

type paintOptions struct {
	Color string `json:"color"`
}

func (o *paintOptions) Validate() []error {
	if o.Color == "beige" {
		return []error{cleanup.OptionError{Path: "color", Problem: "must not be beige"}}
	}
	return nil
}

func catalog() []cleanup.Descriptor {
	return []cleanup.Descriptor{
		{
			Name:     "paint",
			Defaults: cleanup.Policy{Critical: true, Timeout: time.Minute},
			Bind: cleanup.Options(paintOptions{Color: "red"}, func(o paintOptions) (cleanup.Plugin, error) {
				return noPlugin{color: o.Color}, nil
			}),
		},
		{Name: "tell", Bind: cleanup.Options(struct{}{}, func(struct{}) (cleanup.Plugin, error) { return noPlugin{}, nil })},
	}
}

const header = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"

func TestParseFillsInDefaults(t *testing.T) {
	config, err := Parse([]byte(header+`
retry: {maxRetries: 2}
nodeSelector: {matchLabels: {pool: blue}}
steps:
- name: a
  plugin: paint
- name: b
  plugin: tell
  critical: false
  dependsOn: [a]
  priority: 7
  timeout: 90s
  retry: {initialDelay: 1s, jitter: 0}
- name: c
  plugin: paint
  options: {color: green}
  nodeSelector:
    matchExpressions: [{key: gpu, operator: Exists}]
`), catalog())
	if err != nil {
		t.Fatal(err)
	}
	if config.Concurrency != (Concurrency{Nodes: 50, StepsPerNode: 4, Evictions: 100}) || config.Deadline != (Deadline{Action: Hold}) || config.History != (History{MaxAge: 720 * time.Hour, MaxRuns: 1000}) {
		t.Errorf("concurrency and deadline are %+v, %+v", config.Concurrency, config.Deadline)
	}
	if !config.NodeSelector.Matches(labels.Set{"pool": "blue"}) || config.NodeSelector.Matches(labels.Set{"pool": "red"}) {
		t.Errorf("nodeSelector is %s", config.NodeSelector)
	}
	a, b, c := config.Steps[0], config.Steps[1], config.Steps[2]
	if !a.Critical || a.Timeout != time.Minute || a.Bound.(noPlugin).color != "red" {
		t.Errorf("step a does not have the defaults of its plugin: %+v", a)
	}
	if want := (Retry{2, DefaultInitialDelay, DefaultMaxDelay, DefaultBackoffFactor, DefaultJitter}); a.Retry != want {
		t.Errorf("step a retries %+v, want %+v", a.Retry, want)
	}
	if b.Critical || b.Priority != 7 || b.Timeout != 90*time.Second || b.DependsOn[0] != "a" {
		t.Errorf("step b lost what was written: %+v", b)
	}
	if want := (Retry{2, time.Second, DefaultMaxDelay, DefaultBackoffFactor, 0}); b.Retry != want {
		t.Errorf("step b retries %+v, want %+v", b.Retry, want)
	}
	if c.Bound.(noPlugin).color != "green" || !c.NodeSelector.Matches(labels.Set{"gpu": ""}) || c.NodeSelector.Matches(labels.Set{}) {
		t.Errorf("step c lost what was written: %+v", c)
	}
}

// A mapping with a repeated name is not decoded. Its fields must not be reported as missing.
func TestARepeatedNameIsTheOnlyError(t *testing.T) {
	for config, want := range map[string]string{
		header + "steps: [{name: a, plugin: tell}]\nguard: {}\nguard: {}\n":                 `line 5: mapping key "guard" already defined at line 4`,
		header + "steps:\n- {name: a, plugin: tell, plugin: paint}\n":                       `line 4: mapping key "plugin" already defined at line 4`,
		header + "steps: []\nsteps: []\ndeadline: {x: 1}\n":                                 `line 4: mapping key "steps" already defined at line 3`,
		header + "steps:\n- {name: a, plugin: tell, name: b}\n- {retry: {maxRetries: x}}\n": "line 4: mapping key \"name\" already defined at line 4\nline 5: \"x\" is a string, but a number is expected",
	} {
		if _, err := Parse([]byte(config), catalog()); err == nil || err.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ config, want string }{
		"nothing":              {"", "line 1: the config is empty"},
		"invalid YAML":         {"a: [", "near line 1: did not find expected node content"},
		"a list":               {"# A step of a document.\n- {name: a, plugin: tell}\n", "line 2: the config is a list, but must be a mapping with apiVersion, kind and steps; write a list of steps below steps"},
		"mapping for list":     {header + "steps: {name: a, plugin: tell}\n", "line 3: this is a mapping, but a list is expected"},
		"list for mapping":     {header + "deadline: [1h]\nsteps: [{name: a, plugin: tell}]\n", "line 3: this is a list, but a mapping is expected"},
		"string for boolean":   {header + "dryRun: often\nsteps: [{name: a, plugin: tell}]\n", `line 3: "often" is a string, but a boolean is expected`},
		"other kind":           {"apiVersion: v1\nkind: Pod\nsteps: [{name: a, plugin: tell}]\n", "line 1: apiVersion: must be nodecleanup.io/v1alpha1, not \"v1\"\nline 2: kind: must be Config, not \"Pod\""},
		"no steps":             {header, "line 1: steps: at least one step is required: without steps, each node would be released at once"},
		"unknown field":        {header + "dryrun: true\nsteps: [{name: a, plugin: tell}]\n", `line 3: unknown field "dryrun"`},
		"repeated field":       {header + "steps: [{name: a, plugin: tell}]\nsteps: []\n", "line 4: mapping key \"steps\" already defined at line 3"},
		"second document":      {header + "steps: [{name: a, plugin: tell}]\n---\na: b\n", "there is a second document"},
		"unknown plugin":       {header + "steps:\n- name: a\n  plugin: sweep\n", `line 5: steps[0].plugin: unknown plugin "sweep"; known plugins: paint, tell`},
		"unknown option":       {header + "steps:\n- name: a\n  plugin: paint\n  options:\n    colour: red\n", `line 7: steps[0].options.colour: unknown option of plugin paint`},
		"wrong option":         {header + "steps:\n- name: a\n  plugin: paint\n  options:\n    color: beige\n", `line 7: steps[0].options.color: must not be beige`},
		"option of wrong type": {header + "steps:\n- name: a\n  plugin: paint\n  options: {color: 3}\n", `line 6: steps[0].options.color: json: cannot unmarshal number`},
		"bad duration":         {header + "steps:\n- name: a\n  plugin: tell\n  timeout: 5 minutes\n", `line 6: "5 minutes" is not a duration such as 90s, 30m or 2h`},
		"no total":             {header + "steps:\n- name: a\n  plugin: tell\n  totalTimeout: 0s\n", `line 6: steps[0].totalTimeout: must be longer than 0, not 0s`},
		"negative duration":    {header + "steps:\n- name: a\n  plugin: tell\n  timeout: -5m\n", `line 6: steps[0].timeout: must be longer than 0, not -5m0s`},
		"wrong type":           {header + "concurrency: {nodes: many}\nsteps: [{name: a, plugin: tell}]\n", `line 3: "many" is a string, but a number is expected`},
		"no concurrency":       {header + "concurrency: {nodes: 0}\nsteps: [{name: a, plugin: tell}]\n", `line 3: concurrency.nodes: must be at least 1, not 0`},
		"no history":           {header + "history: {maxAge: 0s, maxRuns: 0}\nsteps: [{name: a, plugin: tell}]\n", "line 3: history.maxAge: must be longer than 0, not 0s\nline 3: history.maxRuns: must be at least 1, not 0"},
		"bad name":             {header + "steps: [{name: A b, plugin: tell}]\n", `steps[0].name: must be 1 to 63 lower case letters`},
		"same name":            {header + "steps:\n- {name: a, plugin: tell}\n- {name: a, plugin: tell}\n", `line 5: steps[1].name: "a" is also the name of steps[0]`},
		"unknown dependency":   {header + "steps:\n- {name: a, plugin: tell, dependsOn: [b]}\n", `line 4: steps[0].dependsOn[0]: there is no step "b"`},
		"critical on optional": {header + "steps:\n- {name: a, plugin: tell}\n- {name: b, plugin: paint, dependsOn: [a]}\n", `line 5: steps[1].dependsOn[0]: critical step "b" depends on "a", which is not critical`},
		"depends on itself":    {header + "steps:\n- {name: a, plugin: tell, dependsOn: [a]}\n", "the steps wait for each other: a → a"},
		"cycle":                {header + "steps:\n- {name: x, plugin: tell, dependsOn: [a]}\n- {name: a, plugin: tell, dependsOn: [b]}\n- {name: b, plugin: tell, dependsOn: [c]}\n- {name: c, plugin: tell, dependsOn: [a]}\n", "line 5: steps[1].dependsOn: the steps wait for each other: a → b → c → a"},
		"bad selector":         {header + "nodeSelector: {matchExpressions: [{key: a, operator: Near}]}\nsteps: [{name: a, plugin: tell}]\n", `line 3: nodeSelector: "Near" is not a valid label selector operator`},
		"bad action":           {header + "deadline: {action: Explode}\nsteps: [{name: a, plugin: tell}]\n", `line 3: deadline.action: must be Hold or Release, not "Explode"`},
		"bad retry":            {header + "retry: {backoffFactor: 0.5, jitter: 2, maxRetries: -1, initialDelay: 2m, maxDelay: 1m}\nsteps: [{name: a, plugin: tell}]\n", "line 3: retry.maxRetries: must be at least 0, not -1\nline 3: retry.maxDelay: is 1m0s, shorter than initialDelay, 2m0s\nline 3: retry.backoffFactor: must be from 1 to 100, not 0.5\nline 3: retry.jitter: must be from 0 to 1, not 2"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := Parse([]byte(test.config), catalog())
			if err == nil {
				t.Fatalf("accepted: %+v", config)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got\n%s\nwant\n%s", err, test.want)
			}
		})
	}
}

func TestParseReportsEveryFaultAtOnce(t *testing.T) {
	_, err := Parse([]byte(header+`
typo: 1
steps:
- name: a
  plugin: nothing
  dependsOn: [b]
- name: b
  plugin: paint
  timeout: soon
  dependsOn: [a]
  options: {colour: red}
`), catalog())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`line 4: unknown field "typo"`,
		`line 7: steps[0].plugin: unknown plugin "nothing"`,
		`line 11: "soon" is not a duration`,
		`line 13: steps[1].options.colour: unknown option`,
		`the steps wait for each other: a → b → a`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%s", want, err)
		}
	}
}

func TestAMisspeltPluginIsOneFault(t *testing.T) {
	_, err := Parse([]byte(header+"steps:\n- {name: a, plugin: piant}\n- {name: b, plugin: paint, dependsOn: [a]}\n"), catalog())
	if want := `line 4: steps[0].plugin: unknown plugin "piant"; did you mean paint?`; err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestHashNamesTheFile(t *testing.T) {
	one, err := Parse([]byte(header+"steps: [{name: a, plugin: tell}]\n"), catalog())
	if err != nil {
		t.Fatal(err)
	}
	two, err := Parse([]byte(header+"steps: [{name: b, plugin: tell}]\n"), catalog())
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Hash) != 12 || one.Hash == two.Hash {
		t.Errorf("hashes are %q and %q", one.Hash, two.Hash)
	}
}
