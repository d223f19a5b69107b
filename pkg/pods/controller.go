package pods

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Controller returns the workload that recreates the Pod, and whether there is one. For a Pod of a
// Deployment it is the Deployment: each rollout creates another ReplicaSet, whose name ends in the
// Pod's label pod-template-hash.
func Controller(pod metav1.Object) (api.Object, bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return api.Object{}, false
	}
	found := api.Object{Kind: owner.Kind, Namespace: pod.GetNamespace(), Name: owner.Name}
	if hash := pod.GetLabels()["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		if deployment, is := strings.CutSuffix(owner.Name, "-"+hash); is {
			found.Kind, found.Name = "Deployment", deployment
		}
	}
	return found, true
}

// templateKinds are the built-in kinds that create Pods from one template for any Node.
var templateKinds = []string{"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "Job"}

// PinnedByAffinity reports whether the Pod was created for its Node, like a Pod of a DaemonSet: its
// required node affinity selects that Node by name. The DaemonSet controller places Pods in this
// way, and so do operators that run one Pod on each Node for their own resource.
func PinnedByAffinity(pod *corev1.Pod) bool {
	if controller, _ := Controller(pod); slices.Contains(templateKinds, controller.Kind) {
		return false
	}
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	// The terms are alternatives.
	terms := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return len(terms) > 0 && !slices.ContainsFunc(terms, func(term corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(term.MatchFields, func(field corev1.NodeSelectorRequirement) bool {
			return field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && slices.Equal(field.Values, []string{pod.Spec.NodeName})
		})
	})
}

// Pinned reports whether the Pod's controller puts all its Pods on this Node: its template has
// spec.nodeName. Then the creator of the Pod wrote that field; a scheduler binds a Pod instead,
// which leaves no trace in the managed fields.
func Pinned(pod *corev1.Pod) bool {
	controller, managed := Controller(pod)
	return managed && slices.Contains(templateKinds, controller.Kind) &&
		slices.ContainsFunc(pod.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return api.WroteSpec(entry, "nodeName") })
}
