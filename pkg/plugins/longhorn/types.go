package longhorn

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The types have the fields that the plugin uses of Longhorn's API version v1beta2, see
// https://github.com/longhorn/longhorn-manager/tree/master/k8s/pkg/apis/longhorn/v1beta2. Longhorn's module is not used: it
// would bring its dependencies into the agent.

// node is a nodes.longhorn.io. It has the name of its Kubernetes Node.
type node struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		AllowScheduling   bool `json:"allowScheduling"`
		EvictionRequested bool `json:"evictionRequested"`
	} `json:"spec"`
	Status struct {
		Conditions []condition           `json:"conditions"`
		DiskStatus map[string]diskStatus `json:"diskStatus"`
	} `json:"status"`
}

// diskStatus maps the names of the data on a disk to their sizes. If the disk is not ready, Longhorn
// empties scheduledReplica although the replicas are still there: see updateDiskStatusSchedulableCondition in
// https://github.com/longhorn/longhorn-manager/blob/master/controller/node_controller.go.
type diskStatus struct {
	DiskUUID              string           `json:"diskUUID"`
	ScheduledReplica      map[string]int64 `json:"scheduledReplica"`
	ScheduledBackingImage map[string]int64 `json:"scheduledBackingImage"`
}

// condition is Longhorn's own type: its times are strings.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// replica is one copy of a volume.
type replica struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		VolumeName string `json:"volumeName"`
		NodeID     string `json:"nodeID"`
		// HealthyAt is set while the copy is complete, FailedAt while it is known to be incomplete. LastHealthyAt and
		// LastFailedAt are never cleared.
		HealthyAt     string `json:"healthyAt"`
		LastHealthyAt string `json:"lastHealthyAt"`
		FailedAt      string `json:"failedAt"`
		LastFailedAt  string `json:"lastFailedAt"`
	} `json:"spec"`
}

// healthy is IsAvailableHealthyReplica of
// https://github.com/longhorn/longhorn-manager/blob/master/datastore/longhorn.go.
func (r replica) healthy() bool {
	return r.Metadata.DeletionTimestamp == nil && r.Spec.HealthyAt != "" && r.Spec.FailedAt == ""
}

// used reports whether the replica has ever held data.
func (r replica) used() bool {
	return r.Spec.HealthyAt != "" || r.Spec.LastHealthyAt != "" || r.Spec.FailedAt != "" || r.Spec.LastFailedAt != ""
}

// shard is a part of a volume with erasure coding. It has no complete copy of anything.
type shard struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		NodeID string `json:"nodeID"`
	} `json:"spec"`
}

// volume is a volumes.longhorn.io.
type volume struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		Robustness       string      `json:"robustness"`
		Conditions       []condition `json:"conditions"`
		KubernetesStatus struct {
			Namespace string `json:"namespace"`
			PVCName   string `json:"pvcName"`
		} `json:"kubernetesStatus"`
	} `json:"status"`
}

// backingImage is an image that volumes are based on.
type backingImage struct {
	Status struct {
		// DiskFileStatusMap has the copies by the UUID of their disk.
		DiskFileStatusMap map[string]struct {
			State string `json:"state"`
		} `json:"diskFileStatusMap"`
	} `json:"status"`
}

// list is a page of any of these.
type list[T any] struct {
	Metadata metav1.ListMeta `json:"metadata"`
	Items    []T             `json:"items"`
}

const (
	conditionReady     = "Ready"     // of a node
	conditionScheduled = "Scheduled" // of a volume
	robustnessFaulted  = "faulted"
	imageReady         = "ready"
)

// conditionOf returns the condition of that type, empty if there is none.
func conditionOf(conditions []condition, kind string) condition {
	for _, one := range conditions {
		if one.Type == kind {
			return one
		}
	}
	return condition{}
}

// ready reports whether Longhorn works on the node.
func (n *node) ready() bool { return conditionOf(n.Status.Conditions, conditionReady).Status == "True" }

// leaving reports whether the data of the node is to be moved away.
func (n *node) leaving() bool { return n.Spec.EvictionRequested }
