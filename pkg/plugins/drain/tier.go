package drain

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// tier orders Pods: all Pods of a lower tier are deleted before the next tier is evicted.
type tier int

const (
	ordinary tier = iota
	// critical pods serve the others: DNS, networking, metrics.
	critical
	// storage drivers unmount and detach the volumes of all others.
	storage
	// daemons are the Pods of DaemonSets, which serve all others.
	daemons
	// own is the agent itself. When its Pod ends, another agent continues the drain.
	own
)

// systemCritical is the lowest priority of Kubernetes' own priority classes
// (HighestUserDefinablePriority is one billion).
const systemCritical = 2_000_000_000

func tierOf(pod *corev1.Pod) tier {
	switch {
	case pod.Labels[api.LabelName] == api.LabelNameValue:
		return own
	case storageDriver(pod):
		return storage
	case pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical:
		return critical
	}
	return ordinary
}

// storageDriver reports whether the Pod is part of a CSI driver. The API has no field for it, but
// the Pod's spec shows it: a node plugin has its socket in a directory of the kubelet, and a
// controller has the sidecars of https://kubernetes-csi.github.io/docs/sidecar-containers.html,
// which need --csi-address.
func storageDriver(pod *corev1.Pod) bool {
	for _, volume := range pod.Spec.Volumes {
		if volume.HostPath == nil {
			continue
		}
		// The kubelet may have another root than /var/lib; its folder keeps its name.
		path := strings.TrimSuffix(volume.HostPath.Path, "/") + "/"
		if strings.Contains(path, "/kubelet/plugins/") || strings.Contains(path, "/kubelet/plugins_registry/") {
			return true
		}
	}
	for _, container := range pod.Spec.Containers {
		if slices.ContainsFunc(slices.Concat(container.Command, container.Args), func(word string) bool {
			return strings.HasPrefix(word, "--csi-address") || strings.HasPrefix(word, "-csi-address")
		}) {
			return true
		}
	}
	return false
}
