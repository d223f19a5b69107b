package status

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster/watchtest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestNothingIsDrawnBeforeAllListsAreComplete(t *testing.T) {
	nodes, records := []runtime.Object{}, []runtime.Object{}
	for i := range 4 {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", i)}})
		records = append(records, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("run-", i), Namespace: "ours"}})
	}
	watchtest.DrawsOnlyCompleteLists(t, map[string][]runtime.Object{"nodes": nodes, "configmaps": records}, func(ctx context.Context, client kubernetes.Interface, drawn func()) {
		view := &live{client: client, namespace: "ours", now: time.Now, report: func(line string) { t.Error(line) }, show: func(status *printer.Status) error {
			drawn()
			if status.Nodes.Total != len(nodes) {
				t.Errorf("%d nodes are shown", status.Nodes.Total)
			}
			return nil
		}}
		if err := view.run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
