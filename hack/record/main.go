//go:build linux

// Command record runs the commands in documents on a real cluster, and replaces the outputs in the
// documents by the new ones. It needs root, see test/node.
//
//	go run ./hack/record docs/troubleshooting.md
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, file := range os.Args[1:] {
		if err := recordFile(ctx, file); err != nil {
			fmt.Fprintf(os.Stderr, "recording %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

// recordFile records one document on a cluster of its own, from the root of this repository.
func recordFile(ctx context.Context, file string) (err error) {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	flags, err := node.APIServerFlags()
	if err != nil {
		return err
	}
	c, err := cluster.New(ctx, cluster.Options{Name: "record", WithControllerManager: true, WithScheduler: true, WithKwok: true, APIServerFlags: flags, Output: os.Stdout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop(context.WithoutCancel(ctx))) }()
	real, err := node.Start(ctx, c, root, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, real.Stop(context.WithoutCancel(ctx))) }()
	if err := real.Load(ctx, root, node.Image{Module: root, Package: "./cmd/nodecleanup-agent", Repository: install.Repository, Version: version.Version}); err != nil {
		return err
	}
	programs, err := os.MkdirTemp("", "record-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(programs)) }()
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(programs, "kubectl-nodecleanup"), "./cmd/kubectl-nodecleanup")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the CLI: %w\n%s", err, said)
	}
	kubectl := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", c.Kubectl())
	if err := os.WriteFile(filepath.Join(programs, "kubectl"), []byte(kubectl), 0o755); err != nil {
		return err
	}
	after, err := record(string(before), bash{ctx: ctx, programs: programs, kubeconfig: c.Kubeconfig(), functions: filepath.Join(root, "hack", "record", "functions.sh")})
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(after), 0o644)
}
