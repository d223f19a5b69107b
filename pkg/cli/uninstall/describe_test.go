package uninstall

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

func TestManyNodesAreCountedAndNotListed(t *testing.T) {
	const nodes = 4810
	survey := &install.Survey{Namespace: "ours", Marked: nodes, Protected: nodes}
	for i := range nodes {
		name := fmt.Sprintf("worker-%d", i)
		survey.Objects = append(survey.Objects, install.Object{Name: "run-" + name, Record: true})
		survey.Running = append(survey.Running, install.RunningNode{Name: name, Deleted: i%2 == 0})
		survey.Cordoned = append(survey.Cordoned, name)
		survey.Foreign = append(survey.Foreign, "configmap/"+name)
	}
	var out bytes.Buffer
	describe(&out, survey)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) > 40 {
		t.Errorf("it is %d lines", len(lines))
	}
	for _, want := range []string{
		"the finalizer and marks on nodes: 4810 (with the finalizer: 4810)", "run records: 4810",
		"  node/worker-0: will be released immediately", "  node/worker-1: the node stays", "  and 4800 more nodes", "Other nodes that stay cordoned: 4800", "  and 4800 more objects",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q", want)
		}
	}
	slices.Sort(lines)
	if each := slices.Compact(slices.Clone(lines)); len(each) != len(lines) {
		t.Errorf("lines are repeated")
	}
	if t.Failed() {
		t.Logf("%.3000s", out.String())
	}
}
