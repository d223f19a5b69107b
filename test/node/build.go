//go:build linux

package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// programs are the programs that hack/node builds, by the package in its module.
func programs() map[string]string {
	return map[string]string{
		"node":                    ".",
		"pause":                   "./pause",
		"containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
		"containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
		"ctr":                     "github.com/containerd/containerd/v2/cmd/ctr",
	}
}

// kubernetesVersion is passed to the kubelet, which does not know it from its source.
const kubernetesVersion = "v1.37.2"

// build compiles hack/node with the versions and flags of hack/kubernetes, so that shared packages
// are compiled once. It stores the programs in the cache, and returns their folder.
func build(ctx context.Context, root string, out io.Writer) (string, error) {
	module := filepath.Join(root, "hack", "node")
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go", "pause/main.go"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "node", fmt.Sprintf("%s-%x", kubernetesVersion, hash.Sum(nil)[:6]))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	began, built := time.Now(), 0
	for name, source := range programs() {
		program := filepath.Join(folder, name)
		if _, err := os.Stat(program); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if built++; built == 1 {
			fmt.Fprintf(out, "Building kubelet, kube-proxy and containerd from Go modules: minutes, but only this once; they are kept in %s\n", folder)
		}
		version := "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
		arguments := append([]string{"build", "-o", program + ".partial", "-ldflags=-s -w " + version}, cluster.CompilerFlags()...)
		command := exec.CommandContext(ctx, "go", append(arguments, source)...)
		command.Dir = module
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOGC=off", "GOMEMLIMIT=1GiB")
		if said, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s of hack/node: %w\n%s", name, err, said)
		}
		if err := os.Rename(program+".partial", program); err != nil {
			return "", err
		}
	}
	if built > 0 {
		fmt.Fprintf(out, "Built them in %s\n", time.Since(began).Round(time.Second))
	}
	return folder, nil
}
