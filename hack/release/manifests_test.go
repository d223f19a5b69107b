package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A checkout's base names an image that nobody can pull; that of a release has to be its own.
func TestReleaseManifestsNameTheReleaseImage(t *testing.T) {
	dist, again, folder := t.TempDir(), t.TempDir(), t.TempDir()
	var written [][]byte
	for _, to := range []string{dist, again} {
		if err := packManifests(to, version); err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(filepath.Join(to, "nodecleanup-manifests-1.2.3.tar.gz"))
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, archive)
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("two archives differ")
	}
	unpack(t, filepath.Join(dist, manifestsArchive(version)), folder)
	for _, part := range []string{"base", "overlays/development", "overlays/staging", "overlays/production"} {
		built, err := exec.CommandContext(t.Context(), kubectl(t), "kustomize", filepath.Join(folder, "manifests", part)).CombinedOutput()
		if err != nil {
			t.Errorf("building %s: %v\n%s", part, err, built)
			continue
		}
		if strings.Count(string(built), "image: ghcr.io/nodecleanup/nodecleanup-agent:"+version+"\n") != 1 || strings.Contains(string(built), "v0.0.0-dev") {
			t.Errorf("%s has not the image of %s", part, version)
		}
	}
}
