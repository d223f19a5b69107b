package agreement_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// hostile are strings that YAML or a template reads as something else when they are not quoted.
var hostile = []string{"a\nb: c\n\n", `it's "{{ .Values.image.tag }}" # {a: [`, strings.Repeat(" long", 40), "\u0085\u2028\u007f"}

// FuzzValues renders values that the schema describes. What the schema accepts must be YAML
// whose objects decode strictly; what is refused must be refused by the schema or by a message.
// For more than the seeds: go test ./agreement -fuzz FuzzValues.
func FuzzValues(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	schema, defaults := parse(f, read(f, chart+"/values.schema.json")), parse(f, read(f, chart+"/values.yaml"))
	names := leaves(defaults, "")
	for name := range defaults {
		names = append(names, name)
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := generator{t: t, random: rand.New(rand.NewPCG(seed, 17)), schema: schema}
		values := g.object(schema, "").(map[string]any)
		if g.random.IntN(4) > 0 {
			delete(values, "agentURL") // With it, there is no Deployment.
		}
		if g.random.IntN(2) > 0 {
			set(values, names[g.random.IntN(len(names))], nil)
		}
		written, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		for _, options := range []render.Options{{Values: runtime.DeepCopyJSON(values)}, {Values: runtime.DeepCopyJSON(values), Cluster: onCluster{}}} {
			files, err := render.Chart(chart, options)
			if err != nil {
				if !isRefusal(err) {
					t.Fatalf("%v\nvalues:\n%s", err, written)
				}
				continue
			}
			all, err := strictly(files)
			if err != nil {
				t.Fatalf("%v\nvalues:\n%s", err, written)
			}
			var config map[string]any
			if err := yaml.UnmarshalStrict([]byte(configOf(all)), &config); err != nil {
				t.Fatalf("config: %v\n%s\nvalues:\n%s", err, configOf(all), written)
			}
			meant, _ := values["config"].(map[string]any)
			if steps := meant["steps"]; steps != nil && !reflect.DeepEqual(config["steps"], steps) {
				t.Fatalf("the steps are %v, want %v", config["steps"], steps)
			}
		}
	})
}

// isRefusal: by the schema, or by a fail in a template.
func isRefusal(err error) bool {
	return strings.Contains(err.Error(), "- at '/") || strings.Contains(err.Error(), "- at ''") || strings.Contains(err.Error(), " must ")
}

// strictly decodes files as Helm splits them.
func strictly(files map[string]string) (objects, error) {
	all := objects{}
	known := serializer.NewCodecFactory(everyKind, serializer.EnableStrict).UniversalDeserializer()
	for name, file := range files {
		for _, document := range releaseutil.SplitManifests(file) {
			data, err := yaml.YAMLToJSONStrict([]byte(document))
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
			if string(data) == "null" {
				continue // Comments alone.
			}
			if _, _, err := known.Decode(data, nil, nil); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
			object := &unstructured.Unstructured{}
			if err := object.UnmarshalJSON(data); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
			all[object.GetKind()+"/"+object.GetName()] = object
		}
	}
	return all, nil
}

// everyKind knows the kinds of the chart.
var everyKind = func() *runtime.Scheme {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, certmanager.AddToScheme, monitoring.AddToScheme} {
		if err := add(known); err != nil {
			panic(err)
		}
	}
	return known
}()

// generator makes values of a schema.
type generator struct {
	t      *testing.T
	random *rand.Rand
	schema map[string]any
}

var (
	wholes  = []float64{-1e20, -1, 0, 1, 2, 3, 5, 30, 50, 1024, 9443, 8081, 65535, 2147483647, 1e7, 1e15, 1e20}
	strung  = append([]string{"", "a", "a.b", "--flag", "10%", "128Mi", "5m", "1h30m", "10.0.0.0/8", "2001:db8::/32", "https://127.0.0.1:9443", "http://prometheus:9090", "sha256:" + strings.Repeat("ab", 32), "-----BEGIN CERTIFICATE-----", "/mnt/more", "app.kubernetes.io/name", "example.com/a", "007", "null", "true", "--flag=" + hostile[0], "--flag=" + hostile[1]}, hostile...)
	opaques = []string{"options"}
)

func (g generator) value(schema map[string]any, key string) any {
	schema = g.resolve(schema)
	if one, is := schema["const"]; is {
		return one
	}
	if some, is := schema["enum"].([]any); is {
		return some[g.random.IntN(len(some))]
	}
	if either, is := schema["anyOf"].([]any); is && schema["properties"] == nil {
		return g.value(either[g.random.IntN(len(either))].(map[string]any), key)
	}
	kind, _ := schema["type"].(string)
	if kinds, is := schema["type"].([]any); is {
		kind = kinds[g.random.IntN(len(kinds))].(string)
	}
	switch kind {
	case "object":
		return g.object(schema, key)
	case "array":
		list := []any{}
		for range g.random.IntN(3) + int(number(schema["minItems"], 0)) {
			list = append(list, g.value(schema["items"].(map[string]any), key))
		}
		return list
	case "boolean":
		return g.random.IntN(2) == 0
	case "integer", "number":
		fit := slices.DeleteFunc(slices.Clone(wholes), func(n float64) bool { return n < number(schema["minimum"], n) || n > number(schema["maximum"], n) })
		if kind == "number" && number(schema["maximum"], 1) >= 0.5 {
			fit = append(fit, max(0.5, number(schema["minimum"], 0)))
		}
		return fit[g.random.IntN(len(fit))]
	}
	fit := slices.DeleteFunc(slices.Clone(strung), func(s string) bool { return !g.fits(schema, s) })
	if len(fit) == 0 {
		g.t.Fatalf("no sample of this test fits %s: %v", key, schema)
	}
	return fit[g.random.IntN(len(fit))]
}

func (g generator) object(schema map[string]any, key string) any {
	made := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		// The chart has defaults for what its first level requires.
		below, is := properties[name].(map[string]any)
		if is && (key != "" && slices.Contains(required, any(name)) || g.random.IntN(2) == 0) {
			made[name] = g.value(below, name)
		}
	}
	if slices.Contains(opaques, key) {
		made["body"] = g.value(map[string]any{"type": "string"}, key)
	}
	patterned, _ := schema["patternProperties"].(map[string]any)
	for pattern, below := range patterned {
		for range g.random.IntN(3) {
			made[g.value(map[string]any{"type": "string", "pattern": pattern}, key).(string)] = g.value(below.(map[string]any), key)
		}
	}
	return made
}

func (g generator) resolve(schema map[string]any) map[string]any {
	if reference, is := schema["$ref"].(string); is {
		return g.schema["definitions"].(map[string]any)[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any)
	}
	return schema
}

func (g generator) fits(schema map[string]any, s string) bool {
	if pattern, is := schema["pattern"].(string); is && !regexp.MustCompile(pattern).MatchString(s) {
		return false
	}
	return len(s) >= int(number(schema["minLength"], 0)) && len(s) <= int(number(schema["maxLength"], 1e6))
}

func number(of any, otherwise float64) float64 {
	switch n := of.(type) {
	case float64:
		return n
	case int64:
		return float64(n)
	}
	return otherwise
}

// Of every scalar and every free key, hostile text is refused with its name, or it is what the
// objects hold.
func TestHostileTextIsRejectedOrPreserved(t *testing.T) {
	full := map[string]any{}
	for name, value := range printed {
		if name != "agentURL" && !strings.HasPrefix(name, "uninstall.") && !strings.HasSuffix(name, "digest") {
			set(full, name, parse(t, "v: "+value)["v"])
		}
	}
	set(full, "config.steps", []any{map[string]any{"name": "last", "plugin": "http", "dependsOn": []any{"a"}, "options": map[string]any{"url": "https://inventory.example", "headers": map[string]any{"X": "y"}}}})
	for name, value := range map[string]string{
		"config.nodeSelector":       "{matchLabels: {pool: a}, matchExpressions: [{key: zone, operator: In, values: [a]}]}",
		"tolerations":               "[{key: pool, operator: Equal, value: a}]",
		"image.digest":              "''",
		"admission":                 "auto",
		"uninstall.timeout":         "4m",
		"topologySpreadConstraints": "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]",
	} {
		set(full, name, parse(t, "v: "+value)["v"])
	}
	written := text(t, &unstructured.Unstructured{Object: full})
	kept, refused := 0, 0
	each(full, nil, func(path []string, scalar any) {
		for _, bad := range hostile {
			// Some patterns refuse only what does not begin as it should.
			variants := []string{bad}
			if begin, is := scalar.(string); is {
				variants = append(variants, begin+bad)
			}
			for _, bad := range variants {
				values := parse(t, written)
				if !replace(values, path, bad) {
					t.Fatalf("there is no %v", path)
				}
				rendered, err := render.Chart(chart, render.Options{Values: values, Cluster: onCluster{}})
				if err != nil {
					refused++
					if !isRefusal(err) || !strings.Contains(err.Error(), named(path)) {
						t.Errorf("%v = %q: %v", path, bad, err)
					}
					continue
				}
				kept++
				all, err := strictly(rendered)
				if err != nil {
					t.Errorf("%v = %q: %v", path, bad, err)
					continue
				}
				if !holds(t, all, bad) {
					t.Errorf("%v = %q: no object holds it", path, bad)
				}
			}
		}
	})
	if kept < 20 || refused < 200 {
		t.Errorf("%d were kept and %d refused", kept, refused)
	}
}

// each calls with the path of every scalar. A path that ends in "#" is of the key before it.
func each(value any, path []string, call func(path []string, scalar any)) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			each(value[key], append(path[:len(path):len(path)], key), call)
			if slices.Contains([]string{"podLabels", "podAnnotations", "nodeSelector", "secrets", "inventory", "labels", "options"}, last(path)) {
				call(append(path[:len(path):len(path)], key, "#"), key)
			}
		}
	case []any:
		for i := range value {
			each(value[i], append(path[:len(path):len(path)], fmt.Sprint(i)), call)
		}
	case nil:
	default:
		call(path, value)
	}
}

func replace(value any, path []string, by string) bool {
	switch value := value.(type) {
	case map[string]any:
		if len(path) == 2 && path[1] == "#" {
			value[by] = value[path[0]]
			delete(value, path[0])
			return true
		}
		if len(path) == 1 {
			value[path[0]] = by
			return true
		}
		return replace(value[path[0]], path[1:], by)
	case []any:
		for i := range value {
			if fmt.Sprint(i) != path[0] {
				continue
			}
			if len(path) == 1 {
				value[i] = by
				return true
			}
			return replace(value[i], path[1:], by)
		}
	}
	return false
}

// named is what an error about a path must name: its last key, or that of the list or map.
func named(path []string) string {
	if last(path) == "#" {
		path = path[:len(path)-2]
	}
	for len(path) > 1 && regexp.MustCompile("^[0-9]+$").MatchString(last(path)) {
		path = path[:len(path)-1]
	}
	return last(path)
}

func last(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return path[len(path)-1]
}

// holds reports whether a string or a key of the objects, or of the config in them, has the text.
func holds(t *testing.T, all objects, wanted string) bool {
	t.Helper()
	found := false
	look := func(path []string, scalar any) {
		if s, is := scalar.(string); is && strings.Contains(s, wanted) {
			found = true
		}
		for _, key := range path {
			found = found || strings.Contains(key, wanted)
		}
	}
	for name, object := range all {
		if name == "ConfigMap/"+api.ConfigName {
			each(parse(t, configOf(all)), nil, look)
		}
		each(object.Object, nil, look)
	}
	return found
}
