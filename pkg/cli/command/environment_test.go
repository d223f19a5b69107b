package command

import (
	"bytes"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestRedrawAndColourFollowTheTerminal(t *testing.T) {
	for name, test := range map[string]struct {
		terminal          bool
		variables         map[string]string
		redraws, coloured bool
	}{
		"a terminal":      {true, map[string]string{"TERM": "xterm"}, true, true},
		"NO_COLOR":        {true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, true, false},
		"empty NO_COLOR":  {true, map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true, true},
		"a dumb terminal": {true, map[string]string{"TERM": "dumb"}, false, false},
		"a pipe":          {false, map[string]string{"TERM": "xterm"}, false, false},
	} {
		variable := func(name string) string { return test.variables[name] }
		if redraws(test.terminal, variable) != test.redraws || coloured(test.terminal, variable) != test.coloured {
			t.Errorf("%s: redraws %v, coloured %v", name, !test.redraws, !test.coloured)
		}
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	environment := NewEnvironment(genericiooptions.IOStreams{Out: &bytes.Buffer{}})
	if environment.Colour || environment.Terminal || environment.Interactive {
		t.Errorf("a buffer is taken for a terminal: %+v", environment)
	}
}
