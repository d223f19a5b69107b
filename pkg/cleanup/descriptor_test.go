package cleanup_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type noPlugin struct{}

func (noPlugin) Cleanup(context.Context, cleanup.Target) error { return nil }

type sharedOptions struct {
	Names  []string             `json:"names"`
	Labels map[string]string    `json:"labels"`
	Count  *int                 `json:"count"`
	Nested struct{ List []int } `json:"nested"`
	secret *int
}

func TestOptionsOfAStepDoNotChangeTheDefaults(t *testing.T) {
	count := 1
	defaults := sharedOptions{Names: []string{"a", "b"}, Labels: map[string]string{"a": "b"}, Count: &count, secret: &count}
	defaults.Nested.List = []int{1, 2}
	var bound []sharedOptions
	bind := cleanup.Options(defaults, func(o sharedOptions) (cleanup.Plugin, error) {
		bound = append(bound, o)
		return noPlugin{}, nil
	})
	for _, data := range []string{`{"names":["x"],"labels":{"x":"y"},"count":2,"nested":{"List":[3]}}`, `{}`} {
		if _, faults := bind([]byte(data)); len(faults) > 0 {
			t.Fatal(faults)
		}
	}
	if got := bound[0]; got.Names[0] != "x" || len(got.Labels) != 2 || *got.Count != 2 || got.Nested.List[0] != 3 {
		t.Errorf("the first step has %+v", got)
	}
	if !reflect.DeepEqual(bound[1], defaults) || defaults.Names[0] != "a" || len(defaults.Labels) != 1 || count != 1 || defaults.Nested.List[0] != 1 {
		t.Errorf("the second step has %+v, the defaults are %+v", bound[1], defaults)
	}
}
