package main

import (
	"archive/tar"
	"errors"
	"io"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// What is released: each program on each platform, and nothing beside it.
func TestImagesAreSmallAndHoldOneProgram(t *testing.T) {
	// As make build: it compiles Kubernetes's clients for another architecture.
	t.Setenv("GOGC", "off")
	t.Setenv("GOMEMLIMIT", "1GiB")
	for name, limit := range map[string]int64{"nodecleanup-agent": 15_000_000, "nodecleanup-agent-cloud": 17_000_000, "kubectl-nodecleanup": 15_000_000} {
		for _, architecture := range []string{"amd64", "arm64"} {
			t.Run(name+" "+architecture, func(t *testing.T) {
				of := program{source: filepath.Join(root, "cmd", name), pkg: ".", repository: "ghcr.io/nodecleanup/" + name}
				image, err := imageFor(of, t.TempDir(), "v1.2.3", v1.Platform{OS: "linux", Architecture: architecture})
				if err != nil {
					t.Fatal(err)
				}
				size, err := compressed(image)
				if err != nil || size < 1_000_000 || size >= limit {
					t.Errorf("it takes %d bytes compressed, want less than %d: %v", size, limit, err)
				}
				t.Logf("%d bytes compressed", size)
				file, err := image.ConfigFile()
				if err != nil {
					t.Fatal(err)
				}
				if file.Config.User != "65532:65532" || file.OS != "linux" || file.Architecture != architecture {
					t.Errorf("it runs as %q on %s/%s", file.Config.User, file.OS, file.Architecture)
				}
				if entry := file.Config.Entrypoint; len(entry) != 1 || entry[0] != "/"+name || len(file.Config.Cmd) > 0 {
					t.Errorf("it runs %q with %q", entry, file.Config.Cmd)
				}
				if held := files(t, image); len(held) != 1 || held[0] != name {
					t.Errorf("it holds %q, want its program alone: no shell, no package", held)
				}
			})
		}
	}
}

// files returns the names of all files in an image.
func files(t *testing.T, image v1.Image) (names []string) {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	for unpacked := tar.NewReader(content); ; {
		header, err := unpacked.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}
