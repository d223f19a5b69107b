package cluster

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

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
	files, err := filepath.Glob(filepath.Join(dir, "*.go")) // kubectl, a directory below, is not part of it
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
	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH, linkerFlags(string(version[1])), CompilerFlags())
	return source{dir: dir, version: string(version[1]), hash: fmt.Sprintf("%x", hash.Sum(nil))[:12]}, nil
}

// id names the binary in the cache.
func (s source) id() string { return s.version + "-" + s.hash }

// linkerFlags omit symbols and set the version, which the source does not contain.
func linkerFlags(kubernetes string) string {
	const version = "k8s.io/component-base/version."
	parts := strings.Split(strings.TrimPrefix(kubernetes, "v"), ".")
	return fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", version, kubernetes, parts[0], parts[1])
}

// CompilerFlags are the flags of the binary, and of programs that share packages with it. For
// packages of Kubernetes alone, they disable inlining and debug information. This compiles a
// quarter less, and the API server is not noticeably slower. Packages that the product imports too
// keep the flags of the product's build, and so are compiled once for both.
func CompilerFlags() []string {
	var flags []string
	for _, packages := range []string{
		"k8s.io/kubernetes/...", "k8s.io/apiserver/...", "k8s.io/apiextensions-apiserver/...", "k8s.io/kube-aggregator/...",
		"k8s.io/kube-scheduler/...", "k8s.io/controller-manager/...", "k8s.io/cloud-provider/...", "k8s.io/dynamic-resource-allocation/...",
		"k8s.io/client-go/kubernetes/fake/...", "k8s.io/client-go/kubernetes/typed/.../fake",
		"go.etcd.io/...", "github.com/google/cel-go/...", "sigs.k8s.io/kwok/...",
	} {
		flags = append(flags, "-gcflags="+packages+"=-l -dwarf=false")
	}
	return flags
}
