package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func TestEditorCommand(t *testing.T) {
	for name, test := range map[string]struct {
		variables map[string]string
		want      []string
	}{
		"none":        {nil, []string{"vi"}},
		"EDITOR":      {map[string]string{"EDITOR": "emacs -nw"}, []string{"emacs", "-nw"}},
		"KUBE_EDITOR": {map[string]string{"EDITOR": "emacs", "KUBE_EDITOR": "nano"}, []string{"nano"}},
		"blank":       {map[string]string{"EDITOR": "emacs", "KUBE_EDITOR": " "}, []string{"emacs"}},
		"quotes":      {map[string]string{"EDITOR": `"/my editor" -w`}, []string{"sh", "-c", `"/my editor" -w "$@"`, `"/my editor" -w`}},
	} {
		if got := editorCommand(func(name string) string { return test.variables[name] }); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// The lines of the faults are those in the editor, and the config survives.
func TestHead(t *testing.T) {
	const text = "# ours\nkind: Config\nsteps: []\n"
	faults := config.Errors{{Line: 3, Path: "steps", Problem: "there are none"}, {Problem: "of\nthe whole"}}
	for name, shown := range map[string]string{"first": withHead(text, nil, "a note"), "again": withHead(text, faults, "a note")} {
		if got := withoutHead(shown); got != text {
			t.Errorf("%s: %q remains of\n%s", name, got, shown)
		}
	}
	lines := strings.Split(withHead(text, faults, "a note"), "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, "steps: there are none") })
	if want := slices.Index(lines, "steps: []") + 1; at < 0 || !strings.Contains(lines[at], "line 9: ") || want != 9 {
		t.Errorf("the fault is in line %d of\n%s", want, strings.Join(lines, "\n"))
	}
}
