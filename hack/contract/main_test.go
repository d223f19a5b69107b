package main

import (
	"slices"
	"testing"
)

func TestCompare(t *testing.T) {
	stored := []string{"a: func F()", "a: type T struct"}
	for name, test := range map[string]struct{ now, broken, added []string }{
		"unchanged": {now: stored},
		"grown":     {now: []string{"a: field T.X int", "a: func F()", "a: type T struct"}, added: []string{"a: field T.X int"}},
		"removed":   {now: []string{"a: type T struct"}, broken: []string{"a: func F()"}},
		"changed": {
			now:    []string{"a: func F(int)", "a: type T struct"},
			broken: []string{"a: func F()"}, added: []string{"a: func F(int)"},
		},
	} {
		if broken, added := compare(stored, test.now); !slices.Equal(broken, test.broken) || !slices.Equal(added, test.added) {
			t.Errorf("%s: broken %q, added %q", name, broken, added)
		}
	}
}

func TestListShowsWhatPluginsUse(t *testing.T) {
	lines, err := list([]string{"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cleanup: type Plugin interface{Cleanup(ctx context.Context, target Target) error}",
		"cleanup: field Target.IdempotencyKey string",
		"cleanup: field Effect.ReportedBy string", // Of an alias.
		"cleanup: func Permanent(err error) error",
		"cleanup: const MaxOutputs untyped int = 16",
		"cleanup: method Target.Output(name string, value string) error",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	if !slices.IsSorted(lines) || len(lines) != len(slices.Compact(slices.Clone(lines))) {
		t.Error("the list is not sorted or has a line twice")
	}
}
