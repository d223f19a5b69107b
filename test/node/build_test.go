//go:build linux

package node

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// The node and the control plane share most packages. If their versions differ, Go compiles each package
// and its importers twice, which took 7 minutes.
func TestVersionsMatchTheControlPlane(t *testing.T) {
	// The control plane compiles nothing, or almost nothing, of these packages.
	ignored := []string{
		"dario.cat/mergo", "github.com/Microsoft/go-winio", "github.com/containerd/containerd/api", "github.com/containerd/log",
		"github.com/moby/sys/userns", "github.com/sirupsen/logrus",
	}
	node, controlPlane := versions(t, "node"), versions(t, "kubernetes")
	compared := 0
	for _, module := range slices.Sorted(maps.Keys(node)) {
		want, both := controlPlane[module]
		if !both || slices.Contains(ignored, module) {
			continue
		}
		if compared++; node[module] != want {
			t.Errorf("hack/node has %s %s, hack/kubernetes %s: use the same version", module, node[module], want)
		}
	}
	if compared < 50 {
		t.Errorf("only %d modules were compared", compared)
	}
	if got := node["k8s.io/kubernetes"]; got != kubernetesVersion {
		t.Errorf("the kubelet is built from %s and reports %s", got, kubernetesVersion)
	}
}

var (
	required = regexp.MustCompile(`(?m)^\s+(\S+) (v\S+)(?: // indirect)?$`)
	replaced = regexp.MustCompile(`(?m)^\s+(\S+) => \S+ (v\S+)$`)
)

// versions returns the versions of the dependencies of a module of hack.
func versions(t *testing.T, module string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "hack", module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, expression := range []*regexp.Regexp{required, replaced} {
		for _, match := range expression.FindAllStringSubmatch(string(text), -1) {
			found[match[1]] = match[2]
		}
	}
	return found
}
