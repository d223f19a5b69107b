package volumes

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// inTree returns the volumes that are attached to the Node without a VolumeAttachment, as if each
// had one.
func inTree(node *corev1.Node) []attached {
	var volumes []attached
	for _, name := range api.InTreeVolumes(node) {
		// "kubernetes.io/iscsi/" and the volume.
		attacher, volume := name, name
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 {
			attacher, volume = parts[0]+"/"+parts[1], parts[2]
		}
		volumes = append(volumes, attached{
			VolumeAttachment: &storagev1.VolumeAttachment{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       storagev1.VolumeAttachmentSpec{Attacher: attacher, NodeName: node.Name, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
			},
			inTree:  true,
			mounted: slices.Contains(node.Status.VolumesInUse, corev1.UniqueVolumeName(name)),
		})
	}
	return volumes
}

// mayUseInTree reports whether the Pod may use a volume that has no VolumeAttachment: it names one
// itself, or the volume of its claim is not among the attached ones.
func mayUseInTree(pod *corev1.Pod, volumes, attached []string) bool {
	for _, volume := range pod.Spec.Volumes {
		if volume.ISCSI != nil || volume.FC != nil {
			return true
		}
	}
	return slices.ContainsFunc(volumes, func(name string) bool { return !slices.Contains(attached, name) })
}
