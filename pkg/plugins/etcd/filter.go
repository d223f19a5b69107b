package etcd

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// labelControlPlane is on each control plane Node of kubeadm. A kubelet cannot set it on its own Node: see
	// https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction.
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	// ownerKind is the kind of the owner of a Node's Machine, as the Cluster API sets it.
	ownerKind = "cluster.x-k8s.io/owner-kind"
	// managedEtcd is the finalizer of k3s and RKE2.
	managedEtcd = "wrangler.cattle.io/managed-etcd-controller"
)

// Applies implements cleanup.NodeFilter.
func (p *plugin) Applies(node *corev1.Node) (applies bool, reason string) {
	if _, controlPlane := node.Labels[labelControlPlane]; !controlPlane {
		return false, "the node has no label " + labelControlPlane
	}
	if slices.Contains(node.Finalizers, managedEtcd) {
		return false, "k3s or RKE2 removes the etcd member"
	}
	for name := range node.Annotations {
		if strings.HasPrefix(name, "etcd.k3s.cattle.io/") || strings.HasPrefix(name, "etcd.rke2.cattle.io/") {
			return false, "k3s or RKE2 removes the etcd member"
		}
	}
	if node.Annotations[ownerKind] == "KubeadmControlPlane" {
		return false, "the Cluster API removes the etcd member"
	}
	return true, ""
}
