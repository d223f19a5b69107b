package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readChecksums returns what is in checksums.txt by file, and wants each to be true.
func readChecksums(t *testing.T, dist string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dist, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
		if got := sumOf(t, filepath.Join(dist, name)); got != sum {
			t.Errorf("%s has the checksum %s, and checksums.txt says %s", name, got, sum)
		}
	}
	return sums
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// wantDescribed wants a bill of materials of the very program in the archive of a
// platform. That its form is right is tested where it is written, in hack/tools/bom.
func wantDescribed(t *testing.T, dist string, one platform) {
	t.Helper()
	folder := t.TempDir()
	unpack(t, filepath.Join(dist, one.archive()), folder)
	text, err := os.ReadFile(filepath.Join(dist, one.name()+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Metadata struct {
			Component struct {
				Name, Version string
				Hashes        []struct{ Content string }
			}
		}
		Components []struct{ Name string }
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	about := document.Metadata.Component
	if about.Name != program || about.Version != version || len(about.Hashes) != 1 || about.Hashes[0].Content != sumOf(t, filepath.Join(folder, one.binary())) {
		t.Errorf("it is about %+v, and not about the program in %s", about, one.archive())
	}
	for _, name := range []string{"std", "k8s.io/client-go", "github.com/spf13/cobra"} {
		if !slices.ContainsFunc(document.Components, func(part struct{ Name string }) bool { return part.Name == name }) {
			t.Errorf("%s is not in it", name)
		}
	}
}
