package agreement_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// Helm reads every number as a floating-point one.
func TestAgentReadsTheRenderedConfig(t *testing.T) {
	const head = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n"
	want, err := config.Parse([]byte(head+everything), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatal(err)
	}
	written := configOf(fromChart(t, render.Options{Values: parse(t, "config:"+strings.ReplaceAll(everything, "\n", "\n  "))}))
	got, err := config.Parse([]byte(written), plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	if got.History != want.History || got.Concurrency != want.Concurrency || got.Deadline != want.Deadline || got.DryRun != want.DryRun {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.NodeSelector.String() != want.NodeSelector.String() || got.Guard.MaxTerminating != want.Guard.MaxTerminating || len(got.Guard.CriticalPods) != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(got.Windows) != 1 || !reflect.DeepEqual(got.Windows, want.Windows) || !reflect.DeepEqual(got.Brake, want.Brake) {
		t.Errorf("got %+v %+v, want %+v %+v", got.Windows, got.Brake, want.Windows, want.Brake)
	}
	if len(got.Steps) != len(want.Steps) {
		t.Fatalf("%d steps, want %d", len(got.Steps), len(want.Steps))
	}
	for i, step := range got.Steps {
		meant := want.Steps[i]
		if step.Name != meant.Name || step.Retry != meant.Retry || step.Timeout != meant.Timeout || step.TotalTimeout != meant.TotalTimeout ||
			step.Priority != meant.Priority || step.Critical != meant.Critical || string(step.Options) != string(meant.Options) {
			t.Errorf("step %d is %+v, want %+v", i, step, meant)
		}
	}
}

// A field that config has and the schema has not could not be set by Helm.
func TestSchemaHasEveryDocumentedField(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z., `]+)` \\|")
	schema := parse(t, read(t, chart+"/values.schema.json"))
	for file, under := range map[string]string{"config.md": "", "guard.md": "guard."} {
		found := 0
		for _, match := range row.FindAllStringSubmatch(read(t, "../../../../docs/"+file), -1) {
			for _, name := range strings.Split(strings.ReplaceAll(match[1], "`", ""), ", ") {
				name = strings.TrimPrefix(name, under)
				if name == "apiVersion" || name == "kind" {
					continue
				}
				found++
				if !known(t, schema, "config", under+name) && !known(t, schema, "step", name) {
					t.Errorf("docs/%s has %s, the schema of the values has not", file, name)
				}
			}
		}
		if found < 5 {
			t.Errorf("docs/%s has %d fields: does this test still understand its tables?", file, found)
		}
	}
}

// known reports whether a dotted name is a property below config, or of a step.
func known(t *testing.T, schema map[string]any, of, name string) bool {
	t.Helper()
	definitions := schema["definitions"].(map[string]any)
	at := definitions["step"].(map[string]any)
	if of == "config" {
		at = schema["properties"].(map[string]any)["config"].(map[string]any)
	}
	for _, part := range strings.Split(name, ".") {
		if reference, is := at["$ref"].(string); is {
			at = definitions[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any)
		}
		properties, _ := at["properties"].(map[string]any)
		next, is := properties[part].(map[string]any)
		if !is {
			return false
		}
		at = next
	}
	return true
}

func read(t testing.TB, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
