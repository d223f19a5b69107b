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

// maxAgent is the maximum size of the default agent, in bytes, not compressed.
const maxAgent = 38_000_000

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
				held := files(t, image)
				if len(held) != 1 || held[name] == 0 {
					t.Errorf("it holds %v, want its program alone: no shell, no package", held)
				}
				if name == "nodecleanup-agent" && held[name] > maxAgent {
					t.Errorf("the program takes %d bytes, more than %d: see docs/dependencies.md, The size of the agent", held[name], maxAgent)
				}
				t.Logf("%d bytes, %d compressed", held[name], size)
			})
		}
	}
}

// files returns the sizes of all files in an image, in bytes, by name.
func files(t *testing.T, image v1.Image) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	content := mutate.Extract(image)
	defer content.Close()
	for unpacked := tar.NewReader(content); ; {
		header, err := unpacked.Next()
		if errors.Is(err, io.EOF) {
			return sizes
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes[header.Name] = header.Size
	}
}
