package command

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestResultsOfSeveralNodes(t *testing.T) {
	blocked := &exit.Error{Code: exit.Blocked, Err: errors.New("cleaning up node b: blocked"), Next: "Look at it."}
	for name, test := range map[string]struct {
		errs     map[string]error
		code     int
		reported string
	}{
		"all succeed":               {nil, exit.OK, ""},
		"one fails":                 {map[string]error{"a": errors.New("marking node a: no")}, exit.Failure, "Error: marking node a: no\n"},
		"the highest exit code":     {map[string]error{"b": blocked, "c": errors.New("c")}, exit.Blocked, "Error: cleaning up node b: blocked\nNext:  Look at it.\nError: c\n"},
		"an already reported error": {map[string]error{"b": exit.Quiet(exit.Blocked)}, exit.Blocked, ""},
		"Ctrl-C is reported once":   {map[string]error{"a": context.Canceled, "b": context.Canceled}, exit.Failure, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			environment := &Environment{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}}
			results := environment.NewResults(true)
			succeeded := ForEach(results, []string{"a", "b", "c"}, 1, func(node string) error {
				if err := test.errs[node]; err != nil {
					return err
				}
				results.Done("node/%s done", node)
				return nil
			})
			var want []string
			for _, node := range []string{"a", "b", "c"} {
				if test.errs[node] == nil {
					want = append(want, node)
				}
			}
			if !slices.Equal(succeeded, want) || strings.Count(out.String(), "done") != len(want) {
				t.Errorf("%v succeeded, want %v; stdout %q", succeeded, want, out.String())
			}
			if code := exit.Code(t.Context(), results.Err()); code != test.code || errOut.String() != test.reported {
				t.Errorf("exit code %d, want %d; stderr %q, want %q", code, test.code, errOut.String(), test.reported)
			}
		})
	}
}

// The error of one node alone is reported by the root command, as that of every other command.
func TestErrorOfASingleNodeIsReturned(t *testing.T) {
	var errOut bytes.Buffer
	failed := errors.New("marking node a: no")
	results := (&Environment{IOStreams: genericiooptions.IOStreams{ErrOut: &errOut}}).NewResults(false)
	results.Progress("a", "1/2 drain: done")
	results.Failed(failed)
	if !errors.Is(results.Err(), failed) || errOut.String() != "  1/2 drain: done\n" {
		t.Errorf("it returned %v and wrote %q", results.Err(), errOut.String())
	}
}

func TestManyNodesAreBounded(t *testing.T) {
	for number, wantMore := range map[int]int{0: 0, 10: 0, 11: 1, 200: 190} {
		first, more := Bounded(make([]string, number))
		if len(first) != min(number, 10) || more != wantMore {
			t.Errorf("of %d: %d and %d more", number, len(first), more)
		}
	}
}
