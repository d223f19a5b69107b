package cleanup

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func target() Target {
	return Target{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: "n", UID: "u", Labels: map[string]string{"topology.kubernetes.io/zone": "a", "quoted": `x"y`}, Annotations: map[string]string{"owner": "ops"},
			},
			Spec: corev1.NodeSpec{ProviderID: "p"},
		},
		Step: "tell", DeletedBy: "jane", Attempt: 2, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), IdempotencyKey: "u/tell",
		Outputs: map[string]map[string]string{"open-ticket": {"number": "INC1"}},
	}
}

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain",
		"":      "",
		"${node.name} ${node.uid} ${node.providerID}":      "n u p",
		"in ${node.labels.topology.kubernetes.io/zone}":    "in a",
		"in ${node.labels['topology.kubernetes.io/zone']}": "in a",
		"by ${node.annotations['owner']}":                  "by ops",
		"in ${node.labels['none']}.":                       "in .",
		"in ${node.labels['none']:-some zone}.":            "in some zone.",
		"${step.name} ${step.attempt} ${step.startedAt}":   "tell 2 2026-01-02T03:04:05Z",
		"${step.idempotencyKey} ${run.deletedBy}":          "u/tell jane",
		"see ${steps.open-ticket.outputs.number}":          "see INC1",
		"see ${steps.open-ticket.outputs.none:-nothing}":   "see nothing",
		"$node.name $${node.name} $$":                      "$node.name ${node.name} $$",
	} {
		template, err := NewTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := template.Expand(target(), nil); got != want || err != nil {
			t.Errorf("%q becomes %q, %v, want %q", text, got, err, want)
		}
		if template.String() != text {
			t.Errorf("%q is shown as %q", text, template)
		}
	}
}

func TestExpandEscapesValuesOnly(t *testing.T) {
	quote := func(text string) string { return strings.ReplaceAll(text, `"`, `\"`) }
	got, err := MustTemplate(`"${node.labels['quoted']}"`).Expand(target(), quote)
	if want := `"x\"y"`; got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestAnAbsentOutputIsAPermanentError(t *testing.T) {
	template := MustTemplate("see ${steps.open-ticket.outputs.url} of ${node.name}")
	if got, err := template.Expand(target(), nil); got != "" || !IsPermanent(err) || !strings.Contains(err.Error(), "step open-ticket has recorded no output url") {
		t.Errorf("got %q, %v", got, err)
	}
	if got, want := template.Preview(target()), "see ${steps.open-ticket.outputs.url} of n"; got != want {
		t.Errorf("the preview is %q, want %q", got, want)
	}
}

func TestTemplateNamesTheUnknownReference(t *testing.T) {
	for _, text := range []string{"${node.nam}", "${}", "${node.labels.}", "${node.labels['']}", "${steps.a.number}", "${steps.A.outputs.x}", "${ node.name }", "${node.name:-x${node.uid}}"} {
		var template Template
		data, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &template); err != nil {
			t.Fatal(err)
		}
		if text == "${node.name:-x${node.uid}}" { // The default ends at the first brace.
			if got, err := template.Expand(target(), nil); got != "n}" || err != nil {
				t.Errorf("%q becomes %q, %v", text, got, err)
			}
			continue
		}
		if problem := template.Problem(); !strings.Contains(problem, "unknown reference "+text) || !strings.Contains(problem, "${node.name}") {
			t.Errorf("%q: %q", text, problem)
		}
		if got, err := template.Expand(target(), nil); got != "" || !IsPermanent(err) {
			t.Errorf("an invalid template becomes %q, %v", got, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"${node.name}", "$${", "${steps.a.outputs.b:-c}", "${node.labels['a']", "}${", "$$$${node.name}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		template, err := NewTemplate(text)
		if err != nil {
			return
		}
		if template.String() != text {
			t.Fatalf("%q is shown as %q", text, template)
		}
		marked := func(string) string { return "\x00" }
		got, err := template.Expand(target(), marked)
		if err == nil && strings.Count(got, "\x00")-strings.Count(text, "\x00") > len(template.References()) {
			t.Fatalf("%q has more values than references: %q", text, got)
		}
		if len(template.References()) == 0 && !strings.Contains(text, "$${") && got != text {
			t.Fatalf("%q without references becomes %q", text, got)
		}
	})
}

func TestOutputIsChecked(t *testing.T) {
	recorded := map[string]string{}
	target := Target{Recorded: func(name, value string) error { recorded[name] = value; return nil }}
	for name, value := range map[string]string{"": "a", "1a": "a", "a b": "a", strings.Repeat("a", 64): "a", "a": "x\ny", "b": strings.Repeat("x", MaxOutputValue+1), "c": "\xff", "d": "\x1b[31m"} {
		if err := target.Output(name, value); err == nil {
			t.Errorf("output %q of %q is accepted", name, value)
		}
	}
	if len(recorded) > 0 {
		t.Errorf("recorded %q", recorded)
	}
	if err := target.Output("ticket_url", "https://x/é"); err != nil || recorded["ticket_url"] != "https://x/é" {
		t.Errorf("recorded %q, %v", recorded, err)
	}
}
