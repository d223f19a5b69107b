//go:build linux

package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Image is one to be built from a program of this repository.
type Image struct {
	// Module is the folder with the program's go.mod, Package is in it.
	Module, Package string
	// Repository and Version are the image's name. The program reports the same version.
	Repository, Version string
}

func pause(root string) Image {
	return Image{filepath.Join(root, "hack", "node"), "./pause", "localhost/pause", "1"}
}

func (n *Node) loadPause(ctx context.Context, root string) error {
	return n.Load(ctx, root, pause(root))
}

// Load builds an image and gives it to containerd. root is the folder of this repository.
func (n *Node) Load(ctx context.Context, root string, image Image) error {
	file := n.path(filepath.Base(image.Repository) + ".tar")
	build := exec.CommandContext(ctx, "go", "run", "./image", "-source", image.Module, "-package", image.Package,
		"-repository", image.Repository, "-version", image.Version, "-platforms", "linux/"+runtime.GOARCH, "-o", file)
	build.Dir = filepath.Join(root, "hack", "tools")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building image %s:%s: %w\n%s", image.Repository, image.Version, err, said)
	}
	if _, err := n.ctr(ctx, "images", "import", file); err != nil {
		return fmt.Errorf("importing image %s:%s: %w", image.Repository, image.Version, err)
	}
	return os.Remove(file)
}

// ctr runs containerd's own client in the namespace of the kubelet. Its error contains the output.
func (n *Node) ctr(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, n.program("ctr"), append([]string{"--address", n.socket(), "--namespace", "k8s.io"}, arguments...)...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return string(out), err
}
