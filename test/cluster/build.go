package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// CacheDir is where the Kubernetes binary and the clusters that stay up are kept: $NODECLEANUP_CACHE, or else
// nodecleanup in the user's cache directory. It can be missing still.
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

// Build gives the path of the binary that holds every component of Kubernetes. It takes it from the cache, or
// compiles it from hack/kubernetes, which is looked for from the working directory upwards: minutes, once for every
// version of Kubernetes and of hack/kubernetes. Progress is written to out. When several processes need it, one
// compiles it and the others wait.
//
// Beside the binary there is a link "kubectl", which is a kubectl.
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
		return binary, nil
	}
	held, err := lock(ctx, dir+".lock", func() {
		fmt.Fprintf(out, "Another process builds Kubernetes %s; waiting for it\n", source.version)
	})
	if err != nil {
		return "", err
	}
	defer held.release()
	if isFile(binary) {
		return binary, nil
	}
	if err := source.build(ctx, binary, out); err != nil {
		return "", fmt.Errorf("building Kubernetes %s in %s: %w", source.version, source.dir, err)
	}
	return binary, nil
}

// source is the Go module that the binary is compiled from.
type source struct {
	dir     string // hack/kubernetes
	version string // of Kubernetes, such as v1.37.2
	hash    string // of all that the binary is made of
}

// findSource looks for hack/kubernetes in the working directory and in all above it.
func findSource() (source, error) {
	start, err := os.Getwd()
	if err != nil {
		return source{}, err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		candidate := filepath.Join(dir, "hack", "kubernetes")
		if isFile(filepath.Join(candidate, "go.mod")) {
			return readSource(candidate)
		}
		if dir == filepath.Dir(dir) {
			return source{}, fmt.Errorf("looking for hack/kubernetes: not in %s nor in a directory above it", start)
		}
	}
}

func readSource(dir string) (source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return source{}, err
	}
	module := filepath.Join(dir, "go.mod")
	hash := sha256.New()
	for _, path := range append(files, module, filepath.Join(dir, "go.sum")) {
		content, err := os.ReadFile(path)
		if err != nil {
			return source{}, err
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(content), content)
	}
	content, err := os.ReadFile(module)
	if err != nil {
		return source{}, err
	}
	version := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)`).FindSubmatch(content)
	if version == nil {
		return source{}, fmt.Errorf("looking for the version of k8s.io/kubernetes: %s requires none", module)
	}
	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH, linkerFlags(string(version[1])), compilerFlags())
	return source{dir: dir, version: string(version[1]), hash: fmt.Sprintf("%x", hash.Sum(nil))[:12]}, nil
}

// id names the binary in the cache.
func (s source) id() string { return s.version + "-" + s.hash }

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
	args := append([]string{"build", "-v", "-o", partial, "-ldflags=" + linkerFlags(s.version)}, compilerFlags()...)
	_, err = s.goCommand(ctx, progress, append(args, ".")...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Built Kubernetes %s in %s\n", s.version, time.Since(began).Round(time.Second))
	link := filepath.Join(filepath.Dir(binary), "kubectl")
	if err := os.Symlink(filepath.Base(binary), link); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Rename(partial, binary)
}

// linkerFlags leave symbols out and say which version this is, which is not in the source.
func linkerFlags(kubernetes string) string {
	const version = "k8s.io/component-base/version."
	parts := strings.Split(strings.TrimPrefix(kubernetes, "v"), ".")
	return fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", version, kubernetes, parts[0], parts[1])
}

// compilerFlags leave out inlining and debug information where only Kubernetes is concerned: a quarter less to
// compile, and no slower API server to notice. What the product imports too keeps the flags of its own build, and so
// is compiled once for both.
func compilerFlags() []string {
	var flags []string
	for _, module := range []string{
		"k8s.io/kubernetes", "k8s.io/apiserver", "k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator", "go.etcd.io/etcd",
	} {
		flags = append(flags, "-gcflags="+module+"/...=-l -dwarf=false")
	}
	return flags
}

// goCommand runs go in the module for this machine, whatever the environment says about the product's own builds.
// It gives what go wrote to stdout; progress gets what it wrote to stderr.
func (s source) goCommand(ctx context.Context, progress *buildProgress, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(),
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "CGO_ENABLED=0",
		"GO111MODULE=on", "GOWORK=off", "GOFLAGS=-buildvcs=false",
		// Collecting garbage is a quarter of the work of thousands of short-lived compilers. One that does need much
		// memory collects all the same.
		"GOGC=off", "GOMEMLIMIT=1GiB",
	)
	var stdout strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, progress
	// go starts compilers: when ctx is done, all of them go.
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

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
