package awstargetgroups

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// excludedBy is the value of the label that the plugin sets. Controllers only look at the key.
const excludedBy = "nodecleanup"

func nodesOf(client kubernetes.Interface) typedcorev1.NodeInterface {
	if client == nil {
		return nil
	}
	return client.CoreV1().Nodes()
}

func excluded(node *corev1.Node) bool {
	_, is := node.Labels[corev1.LabelNodeExcludeBalancers]
	return is
}

// exclude labels the Node, unless it has the label. The AWS Load Balancer Controller ignores the
// deletion of the Node, and would register it again (pkg/backend/endpoint_utils.go).
func (p *plugin) exclude(ctx context.Context, node *corev1.Node) error {
	if excluded(node) {
		return nil
	}
	value := excludedBy
	if err := p.label(ctx, node, &value); err != nil {
		return fmt.Errorf("labeling node %s with %s: %w", node.Name, corev1.LabelNodeExcludeBalancers, err)
	}
	return nil
}

// label sets the label of the Node with this UID, or removes it for nil.
func (p *plugin) label(ctx context.Context, node *corev1.Node, value *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": node.UID, "labels": map[string]*string{corev1.LabelNodeExcludeBalancers: value},
	}})
	if err != nil {
		return err
	}
	_, err = p.nodes.Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// Withdraw implements cleanup.Withdrawer: it removes the label, if the plugin has set it. The targets stay
// deregistered: the program that registered them must register them again.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	if !p.Exclude {
		return nil
	}
	node, err := p.nodes.Get(ctx, target.Node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (node.UID != target.Node.UID || node.Labels[corev1.LabelNodeExcludeBalancers] != excludedBy) {
		return nil
	}
	if err == nil {
		err = p.label(ctx, node, nil)
	}
	if err != nil {
		return fmt.Errorf("removing label %s of node %s: %w", corev1.LabelNodeExcludeBalancers, target.Node.Name, err)
	}
	return nil
}

// Rules implements cleanup.RuleRequirer.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	if !p.Exclude {
		return nil
	}
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "patch"}}}
}
