package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func TestCatalogHasEveryPlugin(t *testing.T) {
	all := catalog(plugins.Dependencies{})
	if last := all[len(all)-1].Name; len(all) != len(plugins.Catalog(plugins.Dependencies{}))+1 || last != "inventory" {
		t.Errorf("the catalog has %d plugins, the last is %s", len(all), last)
	}
}

// docs/plugins.md says to copy the example into a repository of one's own. There, it must need nothing that
// is internal to this one.
func TestExampleBuildsInItsOwnModule(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	const main = "main.go"
	source, err := os.ReadFile(main)
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
	build := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, ".")
	build.Dir = folder
	if output, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
