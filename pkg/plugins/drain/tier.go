package drain

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// tier orders pods: those of a lower tier are gone before the next are evicted.
type tier int

const (
	ordinary tier = iota
	// critical pods serve the others: DNS, networking, metrics.
	critical
	// storage drivers unmount and detach the volumes of all others.
	storage
	// daemons are those of DaemonSets, which serve all others, if they are evicted at all.
	daemons
	// own is the agent itself: with its pod the drain moves to another agent.
	own
)

// systemCritical is the lowest priority of the classes that Kubernetes keeps for
// itself (HighestUserDefinablePriority is one billion).
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

// storageDriver reports whether the pod is part of a CSI driver. Nothing in the
// API says so, but what a driver needs does: a node plugin keeps its socket in a
// folder of the kubelet, and a controller has the sidecars of
// https://kubernetes-csi.github.io/docs/sidecar-containers.html, each of which is
// told by --csi-address where the driver listens.
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
