package preview

import (
	"reflect"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// The lines are those of the drain's own tests; the integration tests hold that
// it still writes them so.
func TestDrainLinesAreUnderstood(t *testing.T) {
	step := config.Step{Name: "drain", Plugin: api.DrainPlugin}
	lines := []string{
		"cordon", "evict shop/web-1", "evict shop/cart-0 (not now: The disruption budget cart needs 1 healthy pods and has 1 currently)",
		"evict shop/cache-0 (the data in its emptyDir volume is lost)", "await shop/old (terminating)", "leave kube-system/proxy (DaemonSet)",
		"leave kube-system/cni (DaemonSet)", "leave kube-system/etcd (static)", "refuse ml/train-x (no controller would make it again (option allowUnmanaged))",
	}
	const want = "cordon; evict 4 pods, 2 BLOCKED; wait for 1 that terminate; leave 1 static, 2 DaemonSet"
	if got := summarise(step, lines); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	blocked := []printer.Blocker{
		{What: "shop/cart-0", Reason: "The disruption budget cart needs 1 healthy pods and has 1 currently", Remedy: "scale up what the budget selects, or wait: kubectl -n shop get pdb"},
		{What: "ml/train-x", Reason: "no controller would make it again (option allowUnmanaged)", Remedy: "delete it yourself, or set allowUnmanaged: true in the options of step drain"},
	}
	if got := blockers(step, lines); !reflect.DeepEqual(got, blocked) {
		t.Errorf("got %+v", got)
	}
}

func TestSummariesOfOtherSteps(t *testing.T) {
	step := config.Step{Name: "tell", Plugin: "http"}
	for want, lines := range map[string][]string{
		"nothing to do": nil, "one": {"one"}, "one; two": {"one", "two"}, "one; and 2 more": {"one", "two", "three"},
	} {
		if got := summarise(step, lines); got != want || blockers(step, lines) != nil {
			t.Errorf("%v: got %q, want %q", lines, got, want)
		}
	}
}

// Without the right to evict nothing is known of budgets, which is not the same
// as blocked.
func TestALackOfRightsIsNoBlocker(t *testing.T) {
	step := config.Step{Name: "drain", Plugin: api.DrainPlugin}
	lines := []string{`evict shop/cart-0 (not now: pods "cart-0" is forbidden: User "jo" cannot create resource "pods/eviction" in API group "" in the namespace "shop")`}
	if got := summarise(step, lines); got != "evict 1 pod, budgets not known" || blockers(step, lines) != nil || unasked(step, lines) == "" {
		t.Errorf("got %q, blockers %+v, note %q", got, blockers(step, lines), unasked(step, lines))
	}
}
