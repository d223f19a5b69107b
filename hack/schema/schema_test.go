package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/schema"
)

const root = "../.."

func compile(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func value(t *testing.T, text string) any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the schema of a plugin accepts, the plugin accepts, and the other way round.
func TestSchemaAgreesWithPlugin(t *testing.T) {
	type options struct {
		plugin, options string
		valid           bool
	}
	table := []options{
		{"drain", "{}", true},
		{"drain", "{allowUnmanaged: true, forceAfter: 20m, gracePeriodSeconds: 30, daemonSets: evictLast, api: eviction}", true},
		{"drain", "{rules: [{namespaces: [a], selector: {matchLabels: {a: b}}, action: last, gracePeriodSeconds: 5}]}", true},
		{"drain", "{allowUnmanaged: 'yes'}", false},
		{"drain", "{forceAfter: 20}", false},
		{"drain", "{forceAfter: soon}", false},
		{"drain", "{gracePeriodSeconds: 0}", false},
		{"drain", "{daemonSets: evict}", false},
		{"drain", "{rules: [{selector: {matchLabel: {a: b}}, action: skip}]}", false},
		{"drain", "{rules: [{namespaces: [a], actoin: skip}]}", false},
		{"drain", "{ForceAfter: 20m}", false},
		{"http", "{url: 'https://a'}", true},
		{"http", "{url: {secretKeyRef: {name: a, key: b}}, headers: {X: {secretKeyRef: {name: a, key: b}}, Y: z}, alsoAccept: [404]}", true},
		{"http", "{}", false},
		{"http", "{url: {secretKeyRef: {name: a}}}", false},
		{"http", "{url: {secret: {name: a, key: b}}}", false},
		{"http", "{url: 'https://a', method: GET}", false},
		{"http", "{url: 'https://a', alsoAccept: [1]}", false},
		{"logger", "{level: WARN+1}", true},
		{"logger", "{level: loud}", false},
		{"logger", "{message: 1}", false},
		{"webhook", "{url: 'https://a', params: {any: [1]}}", true},
		{"webhook", "{url: 'ftp://a'}", false},
		{"webhook", "{url: 'https://a', callTimeout: 5}", false},
		{"webhook", "{url: 'https://a', token: {secret: a}}", false},
		{"http", "{url: 'https://a', expectStatus: [202], body: '{}', outputs: {number: '{.number}'}}", true},
		{"http", "{url: 'https://a', body: {}}", false},
		{"volumes", "{skipPods: [{namespaces: [a]}]}", true},
		{"volumes", "{skipPods: [a]}", false},
	}
	found := map[string]cleanup.Descriptor{}
	for _, descriptor := range plugins.Catalog(plugins.Dependencies{}) {
		found[descriptor.Name] = descriptor
		example, err := schema.Example(descriptor.Schema)
		if err != nil || example == nil {
			t.Fatalf("%s has no example: %v", descriptor.Name, err)
		}
		text, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		table = append(table, options{descriptor.Name, string(text), true}, options{descriptor.Name, "{noSuchOption: 1}", false})
	}
	for _, test := range table {
		descriptor := found[test.plugin]
		if err := compile(t, descriptor.Schema).Validate(value(t, test.options)); (err == nil) != test.valid {
			t.Errorf("the schema of %s with %s: %v", test.plugin, test.options, err)
		}
		data, err := yaml.YAMLToJSON([]byte(test.options))
		if err != nil {
			t.Fatal(err)
		}
		if _, faults := descriptor.Bind(data); (len(faults) == 0) != test.valid {
			t.Errorf("plugin %s with %s: %v", test.plugin, test.options, faults)
		}
	}
}

// Every whole config in the repository is valid by the schema of the config.
func TestConfigSchemaAcceptsDocumentedConfigs(t *testing.T) {
	compiled := compile(t, []byte(read(t, root, "docs", "config.schema.json")))
	configs := []string{read(t, root, "hack", "run-local", "config.yaml"), read(t, root, "hack", "demo", "config.yaml")}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		for _, block := range strings.Split(read(t, page), "```yaml\n")[1:] {
			if block, _, _ = strings.Cut(block, "```"); strings.HasPrefix(block, "apiVersion: "+config.APIVersion) {
				configs = append(configs, block)
			}
		}
	}
	if len(configs) < 7 {
		t.Errorf("there are only %d configs", len(configs))
	}
	for _, one := range configs {
		if err := compiled.Validate(value(t, one)); err != nil {
			t.Errorf("%v\n%s", err, one)
		}
	}
}

const head = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"

func TestConfigSchemaAgreesWithParser(t *testing.T) {
	const steps = "steps: [{name: drain, plugin: drain}]\n"
	compiled := compile(t, []byte(read(t, root, "docs", "config.schema.json")))
	for text, valid := range map[string]bool{
		head + steps:                             true,
		steps:                                    false,
		head:                                     false,
		head + "steps: []":                       false,
		head + steps + "step: 1":                 false,
		head + steps + "dryRun: 1":               false,
		head + steps + "concurrency: {nodes: 0}": false,
		head + steps + "deadline: {after: 2h, action: Release}":        true,
		head + steps + "deadline: {action: hold}":                      false,
		head + steps + "windows: [{schedule: '@daily', duration: 4h}]": true,
		head + steps + "windows: [{schedule: '@daily'}]":               false,
		head + steps + "brake: {}":                                     false,
		head + steps + "brake: {maxTerminating: 20%, alerts: {url: 'http://a', names: [b], bearerToken: {secretKeyRef: {name: a, key: b}}}}": true,
		head + steps + "brake: {apiServerErrors: {percent: 100}}":                                                                            false,
		head + steps + "guard: {controlPlane: deny}":                                                                                         false,
		head + steps + "guard: {criticalPods: [{namespaces: [a]}], maxTerminating: 3}":                                                       true,
		head + steps + "nodeSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}":                                             true,
		head + steps + "nodeSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}":                                             false,
		head + "steps: [{name: Drain, plugin: drain}]":                                                                                       false,
		head + "steps: [{name: drain}]":                                                                                                      false,
		head + "steps: [{name: a, plugin: http}]":                                                                                            false,
		head + "steps: [{name: a, plugin: http, options: {url: 'http://a'}}]":                                                                true,
		head + "steps: [{name: a, plugin: drain, options: {url: 'http://a'}}]":                                                               false,
		head + "steps: [{name: a, plugin: drain, retry: {jitter: 2}}]":                                                                       false,
	} {
		if err := compiled.Validate(value(t, text)); (err == nil) != valid {
			t.Errorf("the schema: %v\n%s", err, text)
		}
		if _, err := config.Parse([]byte(text), plugins.Catalog(plugins.Dependencies{})); (err == nil) != valid {
			t.Errorf("the parser: %v\n%s", err, text)
		}
	}
	custom := head + "steps: [{name: a, plugin: custom, options: {anything: [1]}}]"
	if err := compiled.Validate(value(t, custom)); err != nil {
		t.Errorf("the options of a plugin of a custom agent: %v", err)
	}
}

// A config that sets every default is the config that sets none.
func TestConfigSchemaHasTheDefaultsOfTheParser(t *testing.T) {
	type node struct {
		Ref        string          `json:"$ref"`
		Default    any             `json:"default"`
		Properties map[string]node `json:"properties"`
	}
	var document struct {
		node
		Defs map[string]node `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(read(t, root, "docs", "config.schema.json")), &document); err != nil {
		t.Fatal(err)
	}
	number := 0
	var defaults func(of node) map[string]any
	defaults = func(of node) map[string]any {
		values := map[string]any{}
		for name, property := range of.Properties {
			below := defaults(document.Defs[strings.TrimPrefix(property.Ref, "#/$defs/")])
			switch {
			case property.Default != nil:
				values[name] = property.Default
				number++
			case len(below) > 0:
				values[name] = below
			}
		}
		return values
	}
	values := defaults(document.node)
	delete(values, "brake") // Without its other fields, it is an error.
	step := defaults(document.Defs["step"])
	maps.Copy(step, map[string]any{"name": "log", "plugin": "logger"})
	values["steps"] = []any{step}
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	if number < 20 {
		t.Fatalf("the schema has only %d defaults:\n%s", number, text)
	}
	catalog := plugins.Catalog(plugins.Dependencies{})
	want, err := config.Parse([]byte(head+"steps: [{name: log, plugin: logger}]\n"), catalog)
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse(append([]byte(head), text...), catalog)
	if err != nil {
		t.Fatal(err)
	}
	got.Hash = want.Hash
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with the defaults of the schema:\n%+v\nwithout:\n%+v", got, want)
	}
}

type selfDecoding struct{ text string }

func (s *selfDecoding) UnmarshalJSON([]byte) error { return nil }

func TestGeneratorRefusesWhatItCannotDescribe(t *testing.T) {
	type undocumented struct {
		Option string `json:"option"`
	}
	readme := []byte("```yaml\n- {name: a, plugin: a}\n```\n")
	for name, test := range map[string]struct {
		defaults any
		says     string
	}{
		"no options":          {nil, "DefaultOptions"},
		"no comment":          {undocumented{}, "no doc comment"},
		"decodes itself":      {struct{ A selfDecoding }{}, "decodes itself"},
		"a README without it": {struct{}{}, "README"},
	} {
		text := readme
		if strings.HasPrefix(name, "a README") {
			text = nil
		}
		if _, err := ofPlugin(root, cleanup.Descriptor{Name: "a", DefaultOptions: test.defaults}, text); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want an error that names %q", name, err, test.says)
		}
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	stale, err := generate(root, true)
	if err != nil || len(stale) > 0 {
		t.Errorf("run make schema: %v differ: %v", stale, err)
	}
}
