package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// manifestsArchive holds what kubectl apply -k takes, of a version.
func manifestsArchive(version string) string {
	return "nodecleanup-manifests-" + strings.TrimPrefix(version, "v") + ".tar.gz"
}

// unreleased is the tag of the agent's image in manifests/base: there is no such image.
const unreleased = "ghcr.io/nodecleanup/nodecleanup-agent:v0.0.0-dev\n"

// packManifests writes the folders of manifests that Kustomize reads, with the image of the
// version in the base.
func packManifests(folder, version string) error {
	var files []file
	tagged := 0
	for _, part := range []string{"base", "components", "overlays"} {
		found, err := filesIn(filepath.Join("manifests", part))
		if err != nil {
			return fmt.Errorf("reading the manifests: %w", err)
		}
		for _, one := range found {
			one.name = path.Join("manifests", part, one.name)
			tagged += bytes.Count(one.content, []byte(unreleased))
			one.content = bytes.ReplaceAll(one.content, []byte(unreleased), []byte(strings.ReplaceAll(unreleased, "v0.0.0-dev", version)))
			files = append(files, one)
		}
	}
	if tagged != 1 {
		return fmt.Errorf("the image %q is %d times in manifests, and not once", strings.TrimSpace(unreleased), tagged)
	}
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := tarred(&archive, append(files, file{"LICENSE", 0o644, license})); err != nil {
		return fmt.Errorf("packing the manifests: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, manifestsArchive(version)), archive.Bytes(), 0o644)
}
