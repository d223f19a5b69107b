package volumes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// name returns "volume pvc-1 (ebs.csi.aws.com)".
func (a attached) name() string {
	volume := "an inline volume"
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		volume = "volume " + *name
	}
	return fmt.Sprintf("%s (%s)", volume, a.Spec.Attacher)
}

// effect describes that the step waits until the volume is detached.
func (a attached) effect() cleanup.Effect {
	object := cleanup.Object{Kind: "VolumeAttachment", Name: a.Name}
	if a.inTree {
		object.Kind = "Volume"
	} else if name := a.Spec.Source.PersistentVolumeName; name != nil {
		object = cleanup.Object{Kind: "PersistentVolume", Name: *name}
	}
	return cleanup.Effect{Action: cleanup.Wait, Object: object, UID: a.UID, Reason: "until " + a.Spec.Attacher + " has detached it"}
}

// describe names the remaining volumes with the cause of each wait, those with an error first.
func (p *plugin) describe(remaining []attached, node *corev1.Node) string {
	const named = 3
	sorted := slices.Clone(remaining)
	slices.SortStableFunc(sorted, func(a, b attached) int {
		return cmp.Compare(fault(b), fault(a))
	})
	var texts []string
	for _, one := range sorted[:min(named, len(sorted))] {
		texts = append(texts, one.name()+", "+p.reason(one))
	}
	if len(sorted) > named {
		texts = append(texts, "…")
	}
	noun := "volumes are"
	if len(remaining) == 1 {
		noun = "volume is"
	}
	description := fmt.Sprintf("%d %s still attached: %s", len(remaining), noun, strings.Join(texts, "; "))
	if unreachable(node) {
		description += ". The node's kubelet does not answer, so it unmounts nothing; Kubernetes detaches by force after 6 minutes. " +
			"If the machine is powered off, detach now: kubectl taint node " + node.Name + " node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
	}
	return description
}

// fault ranks volumes by their blocker.
func fault(one attached) int {
	switch {
	case one.Status.DetachError != nil:
		return 2
	case len(one.pods) > 0:
		return 1
	}
	return 0
}

// reason returns why the volume is still attached.
func (p *plugin) reason(one attached) string {
	switch {
	case one.mounted:
		return "still mounted by the kubelet (status.volumesInUse)"
	case one.inTree:
		return "in status.volumesAttached of the node"
	case one.Status.DetachError != nil:
		return "detaching failed: " + one.Status.DetachError.Message
	case len(one.pods) > 0:
		return "used by pod " + strings.Join(one.pods, ", ")
	case one.DeletionTimestamp != nil:
		return fmt.Sprintf("being detached for %s", p.clock.Since(one.DeletionTimestamp.Time).Round(time.Second))
	}
	return "not being detached yet"
}

// unreachable reports whether the node controller considers the kubelet unreachable.
func unreachable(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionUnknown
		}
	}
	return false
}
