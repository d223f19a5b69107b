package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// csiVolume is how names of CSI volumes in the status of a Node begin.
const csiVolume = "kubernetes.io/csi/"

// InTreeVolumes returns the names of the volumes that are attached to the Node without a
// VolumeAttachment, such as "kubernetes.io/iscsi/10.0.0.1:3260:iqn.2026-01.com.example:disk:0".
// They belong to in-tree volume plugins such as iscsi and fc.
func InTreeVolumes(node *corev1.Node) []string {
	var names []string
	for _, volume := range node.Status.VolumesAttached {
		if name := string(volume.Name); !strings.HasPrefix(name, csiVolume) {
			names = append(names, name)
		}
	}
	return names
}
