package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Helm returns the path of Helm, of the version in hack/tools/chart/go.mod. It compiles Helm into the cache if that
// has not been done. Progress is written to out.
func Helm(ctx context.Context, out io.Writer) (string, error) {
	source, err := findSource()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(cache, "helm", "helm")
	if !isFile(program) {
		fmt.Fprintln(out, "Building Helm from its Go module: minutes, but only this once; it is kept in", filepath.Dir(program))
	}
	held, err := lock(ctx, filepath.Dir(program)+".lock", nil)
	if err != nil {
		return "", err
	}
	defer held.release()
	// go does not rebuild an up-to-date program.
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "-ldflags=-s -w", "helm.sh/helm/v4/cmd/helm")
	build.Dir = filepath.Join(filepath.Dir(source.dir), "tools", "chart")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOGC=off", "GOMEMLIMIT=1GiB")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Helm: %w\n%s", err, said)
	}
	return program, nil
}
