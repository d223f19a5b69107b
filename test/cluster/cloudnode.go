package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MakeCloudNode returns a Node as one in a cloud looks after some weeks: with labels and
// annotations of the cloud, the conditions of its kubelet, and its images.
func MakeCloudNode(name string, images int) *corev1.Node {
	node := MakeNode(name, map[string]string{
		corev1.LabelTopologyRegion: "eu-central-1", corev1.LabelTopologyZone: "eu-central-1b", corev1.LabelInstanceTypeStable: "m6i.2xlarge",
		"example.com/node-pool": "workers", "example.com/team": "platform", "node.kubernetes.io/lifecycle": "on-demand",
		"topology.ebs.csi.aws.com/zone": "eu-central-1b", "node-role.kubernetes.io/worker": "",
	})
	node.Annotations["csi.volume.kubernetes.io/nodeid"] = `{"ebs.csi.aws.com":"i-0a1b2c3d4e5f60718","efs.csi.aws.com":"i-0a1b2c3d4e5f60718"}`
	node.Annotations["node.alpha.kubernetes.io/ttl"] = "0"
	node.Annotations["volumes.kubernetes.io/controller-managed-attach-detach"] = "true"
	now := metav1.Now()
	for _, condition := range []struct {
		kind            corev1.NodeConditionType
		reason, message string
	}{
		{corev1.NodeMemoryPressure, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{corev1.NodeDiskPressure, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{corev1.NodePIDPressure, "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
		{corev1.NodeReady, "KubeletReady", "kubelet is posting ready status"},
	} {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
			Type: condition.kind, Status: corev1.ConditionFalse, Reason: condition.reason, Message: condition.message,
			LastHeartbeatTime: now, LastTransitionTime: now,
		})
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.17.4"}, {Type: corev1.NodeHostName, Address: name}}
	node.Status.NodeInfo = corev1.NodeSystemInfo{
		MachineID: "ec2a1b2c3d4e5f60718293a4b5c6d7e8", SystemUUID: "ec2a1b2c-3d4e-5f60-7182-93a4b5c6d7e8", BootID: "7f1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
		KernelVersion: "6.12.9-amd64", OSImage: "Debian GNU/Linux 13 (trixie)", ContainerRuntimeVersion: "containerd://2.1.0",
		KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "amd64",
	}
	for image := range images {
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{
			Names: []string{
				fmt.Sprintf("registry.example.com/platform/team-%d/service-%d@sha256:%064x", image%7, image, image),
				fmt.Sprintf("registry.example.com/platform/team-%d/service-%d:v1.%d.0", image%7, image, image),
			},
			SizeBytes: 50_000_000 + int64(image)*1_000_003,
		})
	}
	return node
}
