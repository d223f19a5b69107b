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
