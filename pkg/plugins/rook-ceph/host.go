package rookceph

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// hostname returns the name by which Rook assigns OSDs to a Node, see k8sutil.GetNodeHostName in
// https://github.com/rook/rook/blob/master/pkg/operator/k8sutil/node.go.
func hostname(node *corev1.Node) string {
	return cmp.Or(node.Labels[corev1.LabelHostname], node.Name)
}

// checkHost fails if another Node has the same hostname. A kubelet can change this label of its own Node, see
// https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction, so the OSDs may be
// those of the other Node.
func (p *plugin) checkHost(ctx context.Context, node *corev1.Node) error {
	host := hostname(node)
	for _, options := range []metav1.ListOptions{
		{LabelSelector: labels.Set{corev1.LabelHostname: host}.String()},
		{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, host).String()},
	} {
		nodes, err := p.client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return fmt.Errorf("listing the nodes of host %s: %w", host, err)
		}
		for i := range nodes.Items {
			other := &nodes.Items[i]
			if other.Name == node.Name || hostname(other) != host && other.Name != host {
				continue
			}
			return cleanup.Permanent(fmt.Errorf("nodes %s and %s both claim host %s, so its OSDs may belong to either: correct the label %s of the node that is not this host",
				node.Name, other.Name, host, corev1.LabelHostname))
		}
	}
	return nil
}
