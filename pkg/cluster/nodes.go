package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/pager"
)

// pageSize of a node list: 500 nodes of 15 KB are 7 MB at a time.
const pageSize = 500

// EachNode calls visit with every Node, and reads them page by page so that a large cluster does
// not have to fit into memory. An error of visit ends it.
func EachNode(ctx context.Context, nodes corev1client.NodesGetter, visit func(*corev1.Node) error) error {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return nodes.Nodes().List(ctx, options)
	})
	pages.PageSize = pageSize
	// The pager would read five pages ahead, which in memory are 100 MB of nodes.
	pages.PageBufferSize = 1
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		node, is := object.(*corev1.Node)
		if !is {
			return fmt.Errorf("got %T instead of a node", object)
		}
		return visit(node)
	})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	return nil
}
