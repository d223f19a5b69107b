// Command image builds the agent's image without a container engine: one static
// binary on nothing, for each platform, as an OCI layout in one tar file. containerd
// ("ctr images import"), podman ("podman load") and skopeo read it.
//
//	go run ./image -version v1.2.3 -o agent.tar -sbom .
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/bom"
)

const (
	// nobody is the user that distroless images call nonroot.
	nobody = "65532:65532"
	// maxCompressed is the maximum size of an image, in bytes. The largest is that for clouds, with their SDKs. The test
	// has the limit of each image.
	maxCompressed = 17_000_000
)

func main() {
	var of program
	flag.StringVar(&of.source, "source", "../..", "folder with the program's go.mod")
	flag.StringVar(&of.pkg, "package", "./cmd/nodecleanup-agent", "the program's package")
	flag.StringVar(&of.repository, "repository", "ghcr.io/nodecleanup/nodecleanup-agent", "name of the image; the last part is the program's")
	version := flag.String("version", "v0.0.0-dev", "version that the program tells and the image is tagged with")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "platforms, with commas between them")
	output := flag.String("o", "nodecleanup-agent.tar", "file to write")
	flag.StringVar(&of.boms, "sbom", "", "folder for the bill of materials of the program on each platform; none when empty")
	flag.Parse()
	if err := build(of, *version, strings.Split(*platforms, ","), *output); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// program is what the image holds, and where its bills of materials go.
type program struct{ source, pkg, repository, boms string }

func (p program) name() string { return path.Base(p.repository) }

func build(of program, version string, platforms []string, output string) error {
	work, err := os.MkdirTemp("", of.name()+"-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, name := range platforms {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return fmt.Errorf("reading platform %q: %w", name, err)
		}
		image, err := imageFor(of, work, version, *platform)
		if err != nil {
			return fmt.Errorf("building for %s: %w", name, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	tagged := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{
		"io.containerd.image.name":          of.repository + ":" + version,
		"org.opencontainers.image.ref.name": version,
	}}})
	folder := filepath.Join(work, "layout")
	if _, err := layout.Write(folder, tagged); err != nil {
		return fmt.Errorf("writing the OCI layout: %w", err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := pack(folder, output); err != nil {
		return fmt.Errorf("writing %s: %w", output, err)
	}
	fmt.Printf("%s: %s:%s@%s\n", output, of.repository, version, digest)
	return nil
}

// imageFor compiles the program and puts it into an image of one layer.
func imageFor(of program, work, version string, platform v1.Platform) (v1.Image, error) {
	binary := filepath.Join(work, of.name()+"-"+platform.Architecture)
	compile := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version="+version, "-o", binary, of.pkg)
	compile.Dir, compile.Stderr = of.source, os.Stderr
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if err := compile.Run(); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	if of.boms != "" {
		if err := describe(of, content, version, platform); err != nil {
			return nil, err
		}
	}
	files, err := archive(of.name(), content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	size, err := compressed(image)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%s: %.1f MB compressed\n", platform, float64(size)/1e6)
	if size > maxCompressed {
		return nil, fmt.Errorf("the image takes %d bytes compressed, more than %d", size, maxCompressed)
	}
	return mutate.ConfigFile(image, config(of.name(), image, version, platform))
}

// compressed is what all layers of an image take, in bytes.
func compressed(image v1.Image) (size int64, err error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	for _, layer := range layers {
		one, err := layer.Size()
		if err != nil {
			return 0, err
		}
		size += one
	}
	return size, nil
}

// describe writes what the program in the image is made of.
func describe(of program, content []byte, version string, platform v1.Platform) error {
	document, err := bom.Of(content, of.name(), version)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-image_%s_%s.cdx.json", of.name(), platform.OS, platform.Architecture)
	return os.WriteFile(filepath.Join(of.boms, name), document, 0o644)
}

// config says how the image is run. It carries no time, so that the same source
// gives the same image.
func config(name string, image v1.Image, version string, platform v1.Platform) *v1.ConfigFile {
	file, err := image.ConfigFile()
	if err != nil {
		panic(fmt.Sprintf("an image in memory has a config: %v", err))
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = platform.OS, platform.Architecture
	file.Config = v1.Config{
		User:       nobody,
		Entrypoint: []string{"/" + name},
		Labels: map[string]string{
			"org.opencontainers.image.source":   "https://github.com/nodecleanup/kubectl-nodecleanup",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  version,
		},
	}
	return file
}

// archive returns the files of the layer: the program alone.
func archive(name string, content []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	return buffer.Bytes(), writer.Close()
}

// pack writes a folder into a tar file, in the order of the names.
func pack(folder, output string) error {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	err = filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := writer.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		_, err = writer.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return file.Close()
}
