// Package example tests examples/agent as a reader of docs/plugins.md uses it.
package example

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// docs/plugins.md tells readers to copy the example into their own repository. There, it must need nothing that
// is internal to this one.
func TestExampleWorksInItsOwnModule(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("../../examples/agent")); err != nil {
		t.Fatal(err)
	}
	const main = "main.go"
	source, err := os.ReadFile(filepath.Join(folder, main))
	if err != nil {
		t.Fatal(err)
	}
	const path = "github.com/nodecleanup/kubectl-nodecleanup"
	own := strings.Replace(string(source), path+"/examples/agent/inventory", "example.com/agent/inventory", 1)
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The versions of this module: go mod tidy would need the network.
	module, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(module), "module "+path, "module example.com/agent", 1)
	text += "\nrequire " + path + " v0.0.0\nreplace " + path + " => " + repository + "\n"
	for name, content := range map[string]string{main: own, "go.mod": text, "go.sum": string(sums)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{{"build", "-o", os.DevNull, "."}, {"test", "./..."}} {
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = folder
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}
