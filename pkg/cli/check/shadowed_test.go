package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestShadowedProgramIsReported(t *testing.T) {
	folders := map[string]string{"first": t.TempDir(), "link": t.TempDir(), "second": t.TempDir(), "empty": t.TempDir()}
	program := func(folder string) string { return filepath.Join(folders[folder], "kubectl-nodecleanup") }
	for _, folder := range []string{"first", "second"} {
		if err := os.WriteFile(program(folder), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program("first"), program("link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		outcome printer.Outcome
		says    string
	}{
		"empty":                   {printer.Warning, "it is not on the PATH"},
		"first empty":             {printer.Pass, program("first")},
		"first first link":        {printer.Pass, program("first")},
		"link first":              {printer.Pass, program("link")},
		"first link second empty": {printer.Warning, "the PATH also has " + program("second")},
	} {
		var list []string
		for _, name := range strings.Fields(path) {
			list = append(list, folders[name])
		}
		t.Setenv("PATH", strings.Join(list, string(os.PathListSeparator)))
		if got := shadowed(t.Context(), nil); got.outcome != want.outcome || !strings.Contains(got.detail, want.says) {
			t.Errorf("PATH %q: %s %q", path, got.outcome, got.detail)
		}
	}
}
