package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// itself is a small program to make images of.
func itself(t *testing.T) program {
	t.Helper()
	return program{source: ".", pkg: ".", repository: "ghcr.io/nodecleanup/image", boms: t.TempDir()}
}

func TestBillOfMaterialsMatchesTheProgram(t *testing.T) {
	of, platform := itself(t), v1.Platform{OS: "linux", Architecture: "arm64"}
	image, err := imageFor(of, t.TempDir(), "v1.2.3", platform)
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer files.Close()
	unpacked := tar.NewReader(files)
	header, err := unpacked.Next()
	if err != nil || header.Name != "image" {
		t.Fatalf("the image holds %v, %v", header, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, unpacked); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(of.boms, "image-image_linux_arm64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document cdx.BOM
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	if got, want := (*document.Metadata.Component.Hashes)[0].Value, hex.EncodeToString(hash.Sum(nil)); got != want {
		t.Errorf("the document is of a program with the checksum %s, and in the image is one with %s", got, want)
	}
}

func TestImageIsReproducible(t *testing.T) {
	var written [][]byte
	for range 2 {
		file := filepath.Join(t.TempDir(), "image.tar")
		if err := build(itself(t), "v1.2.3", []string{"linux/amd64"}, file); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, content)
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("two builds differ")
	}
}
