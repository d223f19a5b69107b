package volumes

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// attached is a volume that the step waits for, and the Pods that use it.
type attached struct {
	*storagev1.VolumeAttachment
	pods []string
	// inTree: the volume has no VolumeAttachment; the status of the Node names it.
	inTree bool
	// mounted: the kubelet reports an in-tree volume as in use.
	mounted bool
}

// awaited returns the volumes that must be detached: all volumes except those of Pods that stay.
// poll reports that the result can change although no VolumeAttachment does.
func (p *plugin) awaited(ctx context.Context, node *corev1.Node, all []*storagev1.VolumeAttachment, claims *claims) (remaining []attached, poll bool, err error) {
	if len(api.InTreeVolumes(node)) > 0 { // They are in the status of the Node, which is not watched.
		if node, err = p.sameNode(ctx, node); err != nil {
			return nil, false, err
		}
	}
	unwatched := inTree(node)
	if len(all) == 0 && len(unwatched) == 0 {
		return nil, false, nil
	}
	var names []string
	for _, attachment := range all {
		if name := attachment.Spec.Source.PersistentVolumeName; name != nil {
			names = append(names, *name)
		}
	}
	list, err := p.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node.Name).String(),
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing the pods of node %s: %w", node.Name, err)
	}
	users, staying := map[string][]string{}, map[string]bool{}
	for i := range list.Items {
		pod := &list.Items[i]
		volumes, err := claims.of(ctx, pod)
		if err != nil {
			return nil, false, err
		}
		if len(volumes) > 0 && cordon.Tolerated(pod) {
			if node, err = p.sameNode(ctx, node); err != nil { // It may have been cordoned in the meantime.
				return nil, false, err
			}
		}
		stays := p.stays(pod, node)
		if stays && mayUseInTree(pod, volumes, names) {
			unwatched = nil // The Pod may use them.
		}
		for _, volume := range volumes {
			users[volume] = append(users[volume], pod.Namespace+"/"+pod.Name)
			staying[volume] = staying[volume] || stays
		}
		poll = poll || len(volumes) > 0 && !stays && cordon.Tolerated(pod)
	}
	for _, attachment := range all {
		var volume string
		if name := attachment.Spec.Source.PersistentVolumeName; name != nil {
			volume = *name
		}
		if !staying[volume] {
			remaining = append(remaining, attached{VolumeAttachment: attachment, pods: users[volume]})
		}
	}
	return append(remaining, unwatched...), poll || len(unwatched) > 0, nil
}

// stays reports whether a drain leaves the Pod on the Node: static Pods, Pods of DaemonSets, skipped
// Pods, and Pods that came after the cordon and are bound to this Node by their affinity. A Pod from
// before the cordon is evicted once, whatever it tolerates.
func (o options) stays(pod *corev1.Pod, node *corev1.Node) bool {
	if pods.Terminating(pod) || pods.Finished(pod) {
		return false
	}
	if pods.NodeBound(pod) || slices.ContainsFunc(o.SkipPods, func(skip pods.Selector) bool { return skip.Matches(pod) }) {
		return true
	}
	return node.Spec.Unschedulable && cordon.Stays(pod) && !pod.CreationTimestamp.Time.Before(cordon.At(node))
}

// claim names a PersistentVolumeClaim.
type claim struct{ namespace, name string }

// claims find the volume behind each claim, once: it never changes.
type claims struct {
	client  corev1client.PersistentVolumeClaimsGetter
	volumes map[claim]string
}

// of returns the names of the PersistentVolumes that a pod uses.
func (c *claims) of(ctx context.Context, pod *corev1.Pod) ([]string, error) {
	var volumes []string
	for _, volume := range pod.Spec.Volumes {
		var name string
		switch {
		case volume.PersistentVolumeClaim != nil:
			name = volume.PersistentVolumeClaim.ClaimName
		case volume.Ephemeral != nil:
			name = pod.Name + "-" + volume.Name // As the ephemeral volume controller names it.
		default:
			continue
		}
		bound, err := c.volume(ctx, claim{pod.Namespace, name})
		if err != nil {
			return nil, err
		}
		if bound != "" {
			volumes = append(volumes, bound)
		}
	}
	return volumes, nil
}

func (c *claims) volume(ctx context.Context, of claim) (string, error) {
	if known := c.volumes[of]; known != "" {
		return known, nil
	}
	found, err := c.client.PersistentVolumeClaims(of.namespace).Get(ctx, of.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", nil // Then no Pod that stays uses its volume.
	case apierrors.IsForbidden(err):
		return "", cleanup.Permanent(fmt.Errorf("reading persistentvolumeclaim %s/%s to find the Pods that use a volume: %w", of.namespace, of.name, err))
	case err != nil:
		return "", fmt.Errorf("reading persistentvolumeclaim %s/%s: %w", of.namespace, of.name, err)
	}
	if found.Status.Phase != corev1.ClaimBound {
		return "", nil // Who creates a claim may name any volume in it. Only the bound one belongs to it.
	}
	c.volumes[of] = found.Spec.VolumeName
	return found.Spec.VolumeName, nil
}
