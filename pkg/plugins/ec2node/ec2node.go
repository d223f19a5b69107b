// Package ec2node finds the EC2 instance of a Node, for the plugins of AWS. It needs no SDK.
package ec2node

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Instance identifies an EC2 instance. AWS never uses an ID again.
type Instance struct {
	ID, Region string
}

var (
	// providerID is aws:///ZONE/INSTANCE, as the cloud provider of AWS sets it. See MapToAWSInstanceID in
	// https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/instances.go.
	providerID = regexp.MustCompile(`^aws:///([a-z0-9-]+)/(i-[a-z0-9-]+)$`)
	// regionOf is the region at the start of the name of a zone. A local zone or a Wavelength zone has a longer name:
	// us-west-2-lax-1a is in us-west-2.
	regionOf = regexp.MustCompile(`^([a-z]+-)+[0-9]+`)
)

// Of returns the instance of a Node, and whether the Node is an EC2 instance.
func Of(node *corev1.Node) (Instance, bool) {
	parts := providerID.FindStringSubmatch(node.Spec.ProviderID)
	if parts == nil {
		return Instance{}, false
	}
	region := regionOf.FindString(parts[1])
	return Instance{ID: parts[2], Region: region}, region != ""
}

// Applies implements cleanup.NodeFilter for a plugin that needs an EC2 instance.
func Applies(node *corev1.Node) (applies bool, reason string) {
	if _, is := Of(node); is {
		return true, ""
	}
	id := node.Spec.ProviderID
	switch {
	case id == "":
		return false, "the Node has no provider ID, so its EC2 instance is unknown"
	case strings.HasPrefix(id, "eks-hybrid:"):
		return false, fmt.Sprintf("the Node is an EKS hybrid node (%s), not an EC2 instance", id)
	case strings.HasPrefix(id, "aws:") && strings.Contains(id, "/fargate-"):
		return false, fmt.Sprintf("the Node is a Fargate node (%s), not an EC2 instance", id)
	}
	return false, fmt.Sprintf("provider ID %q is not that of an EC2 instance", id)
}

// Same returns an error if the Node with this UID does not exist any more: its instance can have registered a new Node of
// the same name, which is not the one that is cleaned up. The error is permanent, except if the API server cannot answer.
func Same(ctx context.Context, nodes typedcorev1.NodeInterface, want *corev1.Node) error {
	current, err := nodes.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case api.Absent(err) || err == nil && current.UID != want.UID:
		return cleanup.Permanent(fmt.Errorf("the node %s with UID %s no longer exists", want.Name, want.UID))
	case err != nil:
		return fmt.Errorf("reading node %s: %w", want.Name, err)
	case current.Spec.ProviderID != want.Spec.ProviderID:
		return cleanup.Permanent(fmt.Errorf("the provider ID of node %s changed from %q to %q", want.Name, want.Spec.ProviderID, current.Spec.ProviderID))
	}
	return nil
}

// sampled is how many Nodes Some reads.
const sampled = 20

// Some returns some Nodes of the cluster that are EC2 instances and are not being deleted, for a health check. It is empty
// if none of the first Nodes is.
func Some(ctx context.Context, nodes typedcorev1.NodeInterface) ([]corev1.Node, error) {
	list, err := nodes.List(ctx, metav1.ListOptions{Limit: sampled})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var some []corev1.Node
	for _, node := range list.Items {
		if _, is := Of(&node); is && node.DeletionTimestamp == nil {
			some = append(some, node)
		}
	}
	return some, nil
}
