package drain_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestPreviewTellsVerdictsAndBudgetsAndChangesNothing(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	f.budget("cart", 1)
	f.pod("scratch", f.node, emptyDir)
	f.pod("web", f.node)
	f.pod("daemon", f.node, daemonSet)
	f.pod("alone", f.node, unmanaged)
	said, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cordon",
		"refuse " + f.namespace + "/alone (no controller would make it again (option allowUnmanaged))",
		"evict " + f.namespace + "/cart (not now: The disruption budget cart needs 1 healthy pods and has 1 currently)",
		"evict " + f.namespace + "/scratch (the data in its emptyDir volume is lost)",
		"evict " + f.namespace + "/web",
	}
	said = slices.DeleteFunc(said, func(line string) bool { return strings.HasSuffix(line, "/daemon (DaemonSet)") })
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if left := f.pods(); left["web"] == "" || left["cart"] == "" || left["alone"] == "" {
		t.Errorf("pods left: %v", left)
	}
	for _, event := range f.requests(writes) {
		t.Errorf("a preview sent %s %s", event.Verb, event.URI)
	}
}
