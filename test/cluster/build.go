package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// CacheDir is the directory of the Kubernetes binary and of detached clusters: $NODECLEANUP_CACHE,
// or nodecleanup in the user's cache directory. It may not exist yet.
func CacheDir() (string, error) {
	if dir := os.Getenv("NODECLEANUP_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a cache directory; NODECLEANUP_CACHE can name one: %w", err)
	}
	return filepath.Join(dir, "nodecleanup"), nil
}

// Build returns the path of the binary that holds every component of Kubernetes. It takes the
// binary from the cache, or compiles it from hack/kubernetes, which it searches from the working
// directory upwards. Compiling takes minutes, once for every version of Kubernetes and of
// hack/kubernetes. Build writes its progress to out. When several processes need the binary, one
// compiles it and the others wait.
//
// Beside the binary there is a script "kubectl", which compiles kubectl on its first call, and
// runs it.
func Build(ctx context.Context, out io.Writer) (string, error) {
	source, err := findSource()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "kubernetes", source.id())
	binary := filepath.Join(dir, "kubernetes")
	if isFile(binary) {
		return binary, source.writeKubectl(dir)
	}
	held, err := lock(ctx, dir+".lock", func() {
		fmt.Fprintf(out, "Another process builds Kubernetes %s; waiting for it\n", source.version)
	})
	if err != nil {
		return "", err
	}
	defer held.release()
	if !isFile(binary) {
		if err := source.build(ctx, binary, out); err != nil {
			return "", fmt.Errorf("building Kubernetes %s in %s: %w", source.version, source.dir, err)
		}
	}
	return binary, source.writeKubectl(dir)
}

// build compiles the binary. It appears under its name only when it is complete.
func (s source) build(ctx context.Context, binary string, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(out, "Building Kubernetes %s from Go modules: minutes, but only this once; it is kept in %s\n", s.version, filepath.Dir(binary))
	progress := newBuildProgress(out)
	packages, err := s.goCommand(ctx, progress, "list", "-deps", ".")
	if err != nil {
		return err
	}
	progress.packages(strings.Count(packages, "\n"))
	partial := binary + ".partial"
	args := append([]string{"build", "-v", "-o", partial, "-ldflags=" + linkerFlags(s.version)}, CompilerFlags()...)
	_, err = s.goCommand(ctx, progress, append(args, ".")...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Built Kubernetes %s in %s\n", s.version, time.Since(began).Round(time.Second))
	return os.Rename(partial, binary)
}

// writeKubectl writes a script that compiles kubectl on its first call: a cluster does not need
// kubectl, and most users have one. It is rewritten for another checkout, because the previous
// checkout may be deleted.
func (s source) writeKubectl(dir string) error {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	script := fmt.Sprintf(`#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -x "$here/bin/kubectl" ]; then
	echo "Building kubectl, only this once" >&2
	%s go build -C %s -ldflags %s -o "$here/bin/kubectl" ./kubectl || exit
fi
exec "$here/bin/kubectl" "$@"
`, strings.Join(goSettings(), " "), quote(s.dir), quote(linkerFlags(s.version)))
	path := filepath.Join(dir, "kubectl")
	if written, err := os.ReadFile(path); err == nil && string(written) == script {
		return nil
	}
	partial := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(partial, []byte(script), 0o755); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// goCommand runs go in the module. It returns the output of go; progress gets its stderr.
func (s source) goCommand(ctx context.Context, progress *buildProgress, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), goSettings()...)
	var stdout strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, progress
	// Cancel the whole process group: go starts compilers as child processes.
	setProcessAttributes(cmd, true)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = defaultStopTimeout
	stop := progress.every(20 * time.Second)
	defer stop()
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("go %s: %w", args[0], context.Cause(ctx))
	}
	if err != nil {
		return "", fmt.Errorf("go %s: %w%s", args[0], err, progress.tail())
	}
	return stdout.String(), nil
}

// goSettings make go build for this machine, whatever the environment says about the product's own builds.
func goSettings() []string {
	return []string{
		"GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH, "CGO_ENABLED=0",
		"GO111MODULE=on", "GOWORK=off", "GOFLAGS=-buildvcs=false",
		// Garbage collection is a quarter of the work of thousands of short-lived compilers. GOMEMLIMIT starts it
		// in a compiler that needs much memory.
		"GOGC=off", "GOMEMLIMIT=1GiB",
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
