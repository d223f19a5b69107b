package plugins_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// TestDocumentedConfigsAreValid reads each whole config in a document as an agent would.
func TestDocumentedConfigsAreValid(t *testing.T) {
	root := filepath.Join("..", "..")
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range append(documents, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.HasPrefix(block, "apiVersion: nodecleanup.io/") {
				continue
			}
			found++
			if _, err := config.Parse([]byte(block), plugins.Catalog(plugins.Dependencies{})); err != nil {
				t.Errorf("%s: %v\n%s", document, err, block)
			}
		}
	}
	if found < 5 {
		t.Errorf("the documents have %d configs, and README.md alone has 5 recipes", found)
	}
}

// TestExamplesOfPluginsAreValid reads each block of YAML in the README of a plugin as a part of a config.
func TestExamplesOfPluginsAreValid(t *testing.T) {
	for _, plugin := range plugins.All(plugins.Dependencies{}) {
		text, err := os.ReadFile(filepath.Join(plugin.Name, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		examples := 0
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			document := "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\njobs: [{namespace: node-jobs, serviceAccounts: [archiver, default]}, {namespace: rook-ceph, serviceAccounts: [default]}, {namespace: portworx, serviceAccounts: [default]}]\n"
			switch {
			case strings.HasPrefix(block, "- name: "):
				examples++
				document += "steps:\n" + block
				if !strings.Contains(block, "- name: drain\n") {
					document += "- name: drain\n  plugin: drain\n"
				}
			case strings.HasPrefix(block, "notifications:\n"):
				document += block + "steps: [{name: log, plugin: logger}]\n"
			default:
				continue // Part of a step, or of another file.
			}
			if _, err := config.Parse([]byte(document), plugins.All(plugins.Dependencies{})); err != nil {
				t.Errorf("%s: %v\n%s", plugin.Name, err, block)
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example of a step", plugin.Name)
		}
	}
}
