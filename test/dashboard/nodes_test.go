package dashboard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// drawn returns how many rows the browser has drawn.
func (f *fixture) drawn() int {
	f.Helper()
	return do(f, chromedp.Evaluate[int]("document.querySelectorAll('.window tbody tr').length"))
}

// Of 5,000 nodes, only the visible ones are in the page. The URL holds what was chosen.
func TestManyNodes(t *testing.T) {
	const count = 5000
	var nodes []runtime.Object
	for i := range count {
		node := cluster.MakeNode(fmt.Sprintf("worker-%04d", i), map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3)})
		node.UID = types.UID(node.Name)
		if i != 7 {
			node.Finalizers = []string{api.Finalizer}
		}
		nodes = append(nodes, node)
	}
	f := setUpFake(t, nodes...)
	f.goTo("nodes")
	f.awaitText("5000 of 5000 nodes")
	f.awaitText("worker-0000")
	if drawn := f.drawn(); drawn < 10 || drawn > 100 {
		t.Errorf("%d rows are drawn", drawn)
	}
	do(f, chromedp.Evaluate[any]("document.querySelector('.window').scrollTop = 1e9"))
	f.awaitText("worker-4999")
	if drawn := f.drawn(); drawn > 100 {
		t.Errorf("at the end, %d rows are drawn", drawn)
	}
	f.goTo("nodes?protected=no")
	f.awaitText("1 of 5000 nodes")
	f.awaitText("worker-0007")
	f.goTo("nodes?group=zone&search=worker-00")
	f.awaitText("100 of 5000 nodes")
	f.awaitText("zone-0 (34)")
	do(f, chromedp.Reload())
	f.awaitText("100 of 5000 nodes")
	f.goTo("nodes?sort=name&order=desc")
	f.awaitText("5000 of 5000 nodes")
	f.awaitText("worker-4999")
	f.picture("nodes-5000")
	f.wantNoComplaint()
}

// A name or a text from the cluster is never markup, even if the API server would store it.
func TestTextsAreNotMarkup(t *testing.T) {
	node := cluster.MakeNode("worker", map[string]string{"karpenter.sh/nodepool": "<img src=x onerror=document.title='owned'>"})
	node.UID, node.Finalizers = "uid", []string{api.Finalizer}
	node.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	node.Status.Conditions = append(node.Status.Conditions, api.CleanupCondition(api.Failed, "<script>document.title='owned'</script>\u202e<b>bold</b>", metav1.Now()))
	f := setUpFake(t, node)
	f.awaitText("<b>bold</b>")
	f.goTo("nodes")
	f.awaitText("<img src=x")
	if title := do(f, chromedp.Evaluate[string]("document.title")); title == "owned" {
		t.Error("a text from the cluster was run as a script")
	}
	if found := do(f, chromedp.Evaluate[int]("document.querySelectorAll('main img, main script, main b').length")); found > 0 {
		t.Errorf("%d elements come from a text", found)
	}
	f.wantNoComplaint()
}
