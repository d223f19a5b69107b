package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The programs in hack/tools are of another module, so that what they need is not
// among the dependencies of what is released.
const tools = "hack/tools"

// describe writes the bill of materials of the program of one platform.
func (p platform) describe(ctx context.Context, path string, binary []byte, version string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := run(ctx, nil, bytes.NewReader(binary), out, "go", "-C", tools, "run", "./sbom", "-name", program, "-version", version); err != nil {
		return err
	}
	return out.Close()
}

// images writes the images of the agents and the CLI, and the bills of materials of the programs
// in them. It returns the names of the files.
func images(ctx context.Context, folder, version string) ([]string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	var made []string
	for _, name := range []string{"nodecleanup-agent", "nodecleanup-agent-cloud", program} {
		if err := run(ctx, nil, nil, os.Stderr, "go", "-C", tools, "run", "./image", "-version", version,
			"-source", filepath.Join("..", "..", "cmd", name), "-package", ".", "-repository", "ghcr.io/nodecleanup/"+name,
			"-o", filepath.Join(folder, name+".tar"), "-sbom", folder); err != nil {
			return nil, err
		}
		made = append(made, name+".tar")
		described, err := filepath.Glob(filepath.Join(folder, name+"-image_*.cdx.json"))
		if err != nil {
			return nil, err
		}
		for _, one := range described {
			made = append(made, filepath.Base(one))
		}
	}
	return made, nil
}

// run runs a program from the root of the checkout; in and out may be nil.
func run(ctx context.Context, environment []string, in io.Reader, out io.Writer, name string, arguments ...string) error {
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = append(append(os.Environ(), "CGO_ENABLED=0"), environment...)
	command.Stdin, command.Stdout, command.Stderr = in, out, os.Stderr
	return command.Run()
}
