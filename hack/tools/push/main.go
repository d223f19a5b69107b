// Command push puts images that the command image wrote into a registry, with the
// credentials that docker login (or podman login) has left. It prints their digests as
// sha256sum does, which is the form in which attestations take them:
//
//	go run ./push nodecleanup-agent.tar
//	4f5e…  ghcr.io/nodecleanup/nodecleanup-agent
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	under := flag.String("under", "", "registry and folder to push to, such as ghcr.io/example; that of the image's name when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, file := range flag.Args() {
		if err := push(ctx, file, *under, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "pushing %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

// push puts the image in a file, with all its platforms, under its name and tag.
func push(ctx context.Context, file, under string, out io.Writer) error {
	folder, err := os.MkdirTemp("", "push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := unpack(file, folder); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	image, reference, err := named(folder)
	if err != nil {
		return err
	}
	if under != "" {
		moved := path.Join(under, path.Base(reference.RepositoryStr())) + ":" + reference.TagStr()
		if reference, err = name.NewTag(moved, name.StrictValidation); err != nil {
			return err
		}
	}
	if err := remote.WriteIndex(reference, image, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("writing to %s: %w", reference, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s  %s\n", digest.Hex, reference.Context())
	return err
}

// named returns the one image of an OCI layout, and what it is called.
func named(folder string) (v1.ImageIndex, name.Tag, error) {
	all, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, name.Tag{}, err
	}
	list, err := all.IndexManifest()
	if err != nil {
		return nil, name.Tag{}, err
	}
	if len(list.Manifests) != 1 {
		return nil, name.Tag{}, fmt.Errorf("there are %d images in it, and not one", len(list.Manifests))
	}
	called := list.Manifests[0].Annotations["io.containerd.image.name"]
	reference, err := name.NewTag(called, name.StrictValidation)
	if err != nil {
		return nil, name.Tag{}, fmt.Errorf("reading the image's name: %w", err)
	}
	image, err := all.ImageIndex(list.Manifests[0].Digest)
	return image, reference, err
}

func unpack(file, folder string) error {
	packed, err := os.Open(file)
	if err != nil {
		return err
	}
	defer packed.Close()
	// Nothing in the archive gets out of the folder.
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for files := tar.NewReader(packed); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(header.Name), 0o755); err != nil {
			return err
		}
		if err := extract(root, header.Name, files); err != nil {
			return err
		}
	}
}

func extract(root *os.Root, name string, content io.Reader) error {
	out, err := root.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}
