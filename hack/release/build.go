package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// program is the name of the CLI's binary.
const program = "kubectl-nodecleanup"

// stamp is the time of every file in an archive: not when it was built.
var stamp = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

type platform struct{ os, arch string }

// platforms that are released. krew/nodecleanup.yaml.tmpl has the same.
var platforms = []platform{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
}

func (p platform) binary() string {
	if p.os == "windows" {
		return program + ".exe"
	}
	return program
}

// name is that of the platform's files, without what follows the dot.
func (p platform) name() string { return fmt.Sprintf("%s_%s_%s", program, p.os, p.arch) }

func (p platform) archive() string {
	if p.os == "windows" {
		return p.name() + ".zip"
	}
	return p.name() + ".tar.gz"
}

// build returns the program. No path of this machine and no commit gets into it:
// the version says what it is.
func (p platform) build(ctx context.Context, version string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, p.binary())
	flags := "-s -w -buildid= -X github.com/nodecleanup/kubectl-nodecleanup/pkg/version.Version=" + version
	environment := []string{"GOOS=" + p.os, "GOARCH=" + p.arch, "CGO_ENABLED=0", "GOFLAGS="}
	err = run(ctx, environment, nil, nil, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, "./cmd/kubectl-nodecleanup")
	if err != nil {
		return nil, fmt.Errorf("building for %s/%s: %w", p.os, p.arch, err)
	}
	return os.ReadFile(path)
}

type file struct {
	name    string
	mode    os.FileMode
	content []byte
}

// pack writes the archive with the program, its license and its man pages.
func (p platform) pack(path string, binary []byte, man []file) error {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	files := append([]file{{"LICENSE", 0o644, license}, {p.binary(), 0o755, binary}}, man...)
	var archive bytes.Buffer
	if strings.HasSuffix(path, ".zip") {
		err = zipped(&archive, files)
	} else {
		err = tarred(&archive, files)
	}
	if err != nil {
		return fmt.Errorf("packing %s: %w", path, err)
	}
	return os.WriteFile(path, archive.Bytes(), 0o644)
}

func tarred(out io.Writer, files []file) error {
	compressed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	for _, file := range files {
		header := &tar.Header{Name: file.name, Mode: int64(file.mode), Size: int64(len(file.content)), ModTime: stamp, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(file.content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

func zipped(out io.Writer, files []file) error {
	archive := zip.NewWriter(out)
	for _, file := range files {
		header := &zip.FileHeader{Name: file.name, Method: zip.Deflate, Modified: stamp}
		header.SetMode(file.mode)
		writer, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := writer.Write(file.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
