package main

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// An image of this very program, as the command image makes it, gets into a registry
// whole: every blob is there and has the checksum that its manifest says.
func TestPushedImageCanBePulled(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	under := strings.TrimPrefix(server.URL, "http://") + "/example"
	file := filepath.Join(t.TempDir(), "push.tar")
	build := exec.CommandContext(t.Context(), "go", "run", "../image", "-source", ".", "-package", ".",
		"-repository", "ghcr.io/nodecleanup/push", "-version", "v1.2.3", "-o", file)
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("making an image: %v\n%s", err, said)
	}
	var out bytes.Buffer
	if err := push(t.Context(), file, under, &out); err != nil {
		t.Fatal(err)
	}
	reference, err := name.NewTag(under + "/push:v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Error(err)
	}
	list, err := pulled.IndexManifest()
	if err != nil || len(list.Manifests) != 2 {
		t.Errorf("%v, %v: want an image for each of 2 platforms", list, err)
	}
	digest, err := pulled.Digest()
	if err != nil || out.String() != digest.Hex+"  "+under+"/push\n" {
		t.Errorf("it says %q, and the digest is %s, %v", out.String(), digest, err)
	}
}

func TestOtherFilesAreAnError(t *testing.T) {
	if err := push(t.Context(), "main.go", "localhost:1/nobody", io.Discard); err == nil || !strings.Contains(err.Error(), "unpacking") {
		t.Errorf("got %v", err)
	}
}
