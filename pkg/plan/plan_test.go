package plan

import (
	"context"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type plugin struct{ refuses string }

func (plugin) Cleanup(context.Context, cleanup.Target) error { return nil }

func (p plugin) Applies(*corev1.Node) (bool, string) { return p.refuses == "", p.refuses }

func step(name string, dependsOn ...string) config.Step {
	return config.Step{Name: name, Plugin: "x", DependsOn: dependsOn, NodeSelector: labels.Everything(), Bound: plugin{}}
}

func with(step config.Step, change func(*config.Step)) config.Step {
	change(&step)
	return step
}

func names(plan Plan) [][]string {
	var waves [][]string
	for _, wave := range plan.Waves {
		var steps []string
		for _, step := range wave {
			steps = append(steps, step.Name)
		}
		waves = append(waves, steps)
	}
	return waves
}

func TestBuild(t *testing.T) {
	gpu, err := labels.Parse("gpu=yes")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		steps []config.Step
		waves [][]string
		skips []string
	}{
		"independent steps are one wave, by name": {
			steps: []config.Step{step("b"), step("a")},
			waves: [][]string{{"a", "b"}},
		},
		"priority comes before the name": {
			steps: []config.Step{with(step("a"), func(s *config.Step) { s.Priority = 5 }), step("b"), with(step("c"), func(s *config.Step) { s.Priority = -1 })},
			waves: [][]string{{"c", "b", "a"}},
		},
		"a step comes a wave after its last dependency": {
			steps: []config.Step{step("end", "one", "two"), step("two", "one"), step("one"), step("alone")},
			waves: [][]string{{"alone", "one"}, {"two"}, {"end"}},
		},
		"a step for other nodes is skipped": {
			steps: []config.Step{with(step("a"), func(s *config.Step) { s.NodeSelector = gpu }), step("b", "a")},
			waves: [][]string{{"b"}},
			skips: []string{`a: the node's labels do not match the step's nodeSelector "gpu=yes"`},
		},
		"a plugin may say that it does not apply": {
			steps: []config.Step{with(step("a"), func(s *config.Step) { s.Bound = plugin{refuses: "no disk here"} })},
			skips: []string{"a: no disk here"},
		},
		"order is kept across a skipped step": {
			steps: []config.Step{step("a"), with(step("b", "a"), func(s *config.Step) { s.NodeSelector = gpu }), step("c", "b")},
			waves: [][]string{{"a"}, {"c"}},
			skips: []string{`b: the node's labels do not match the step's nodeSelector "gpu=yes"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Build(test.steps, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"gpu": "no"}}})
			if got := names(plan); !reflect.DeepEqual(got, test.waves) {
				t.Errorf("waves are %v, want %v", got, test.waves)
			}
			var skips []string
			for _, skip := range plan.Skipped {
				skips = append(skips, skip.Step.Name+": "+skip.Reason)
			}
			if !reflect.DeepEqual(skips, test.skips) {
				t.Errorf("skips are %q, want %q", skips, test.skips)
			}
		})
	}
}

func TestStepsHashCoversTheEffects(t *testing.T) {
	node := &corev1.Node{}
	base := Build([]config.Step{step("a"), step("b")}, node).StepsHash
	if again := Build([]config.Step{step("b"), step("a")}, node).StepsHash; again != base {
		t.Errorf("the order in the file does not matter, but the hashes are %s and %s", base, again)
	}
	for what, steps := range map[string][]config.Step{
		"another step":  {step("a"), step("c")},
		"another order": {step("a"), step("b", "a")},
		"other options": {with(step("a"), func(s *config.Step) { s.Options = []byte(`{"x":1}`) }), step("b")},
		"criticality":   {with(step("a"), func(s *config.Step) { s.Critical = true }), step("b")},
		"a skip":        {with(step("a"), func(s *config.Step) { s.Bound = plugin{refuses: "no"} }), step("b")},
	} {
		if hash := Build(steps, node).StepsHash; hash == base {
			t.Errorf("%s leaves the hash as it is", what)
		}
	}
}
