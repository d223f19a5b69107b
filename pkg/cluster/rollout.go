package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// RolloutPending describes the missing part of a Deployment's rollout, as kubectl rollout status
// does. It is empty if the Deployment is rolled out.
func RolloutPending(deployment *appsv1.Deployment) string {
	wanted := int32(1)
	if deployment.Spec.Replicas != nil {
		wanted = *deployment.Spec.Replicas
	}
	status := deployment.Status
	switch {
	case status.ObservedGeneration < deployment.Generation:
		return "waiting for the deployment controller"
	case status.UpdatedReplicas < wanted:
		return fmt.Sprintf("%d of %d updated", status.UpdatedReplicas, wanted)
	case status.AvailableReplicas < wanted:
		return fmt.Sprintf("%d of %d available", status.AvailableReplicas, wanted)
	case status.Replicas > wanted:
		return fmt.Sprintf("pods of the old version that still run: %d", status.Replicas-wanted)
	}
	return ""
}

// Stall is why a Deployment is not rolled out.
type Stall struct {
	// Text is in the words of the API server or of the kubelet.
	Text string
	// Refused: the API server refuses the Pods, such as for a quota, by Pod Security, by a
	// policy, or by a security context constraint of OpenShift.
	Refused bool
	// Pod that does not start, if it is one. Crashed: its container ended with an error.
	Pod     string
	Crashed bool
	// EndedAt is when the container ended, zero if that is not known.
	EndedAt time.Time
	// Image: the kubelet cannot pull the image. NeverPulled: it may not pull it.
	Image, NeverPulled bool
	// Unschedulable: the scheduler places the Pod on no Node.
	Unschedulable bool
}

// RolloutStall returns the cause why a Deployment is not rolled out. It is nil if the Deployment
// is rolled out, or if no Pod shows a failure. The Pods belong to the Deployment. Ready Pods of an
// old version do not hide a failure.
func RolloutStall(deployment *appsv1.Deployment, all []corev1.Pod) *Stall {
	if RolloutPending(deployment) == "" || deployment.Status.ObservedGeneration < deployment.Generation {
		return nil
	}
	if failure := deploymentCondition(deployment, appsv1.DeploymentReplicaFailure); failure != nil && failure.Status == corev1.ConditionTrue {
		return &Stall{Text: failure.Reason + ": " + firstLine(failure.Message), Refused: true}
	}
	newest := slices.SortedStableFunc(slices.Values(ofTemplate(deployment, all)), func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	for i := range newest { // A Pod of an earlier version explains nothing that was changed since.
		if stall := podStall(&newest[i]); stall != nil {
			return stall
		}
	}
	if progress := deploymentCondition(deployment, appsv1.DeploymentProgressing); progress != nil && progress.Status == corev1.ConditionFalse {
		return &Stall{Text: progress.Reason + ": " + firstLine(progress.Message)}
	}
	return nil
}

// ofTemplate returns the Pods with the images of the Deployment's template, if there are any: a Pod that waits
// for an earlier image explains nothing. An admission webhook may have changed the images of all Pods.
func ofTemplate(deployment *appsv1.Deployment, all []corev1.Pod) []corev1.Pod {
	current := slices.DeleteFunc(slices.Clone(all), func(pod corev1.Pod) bool {
		return slices.ContainsFunc(deployment.Spec.Template.Spec.Containers, func(wanted corev1.Container) bool {
			return !slices.ContainsFunc(pod.Spec.Containers, func(has corev1.Container) bool { return has.Name == wanted.Name && has.Image == wanted.Image })
		})
	})
	if len(current) == 0 {
		return all
	}
	return current
}

func deploymentCondition(deployment *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	at := slices.IndexFunc(deployment.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
	if at < 0 {
		return nil
	}
	return &deployment.Status.Conditions[at]
}

// podStall returns why a Pod is not ready, nil if that is not known.
func podStall(pod *corev1.Pod) *Stall {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if why, crashed := pods.NotReady(container); why != "" {
			waiting := container.State.Waiting
			return &Stall{
				Text: "pod " + pod.Name + ": " + why, Pod: pod.Name, Crashed: crashed, EndedAt: endedAt(container),
				Image: waiting != nil && imageReasons[waiting.Reason], NeverPulled: waiting != nil && waiting.Reason == "ErrImageNeverPull",
			}
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			// The scheduler adds a sentence about preemption, which says nothing about the Nodes.
			why, _, _ := strings.Cut(firstLine(condition.Message), " preemption: ")
			return &Stall{Text: "pod " + pod.Name + ": " + why, Pod: pod.Name, Unschedulable: true}
		}
	}
	return nil
}

// endedAt returns when the container ended last, zero if it never did.
func endedAt(container corev1.ContainerStatus) time.Time {
	for _, state := range []corev1.ContainerState{container.State, container.LastTerminationState} {
		if state.Terminated != nil {
			return state.Terminated.FinishedAt.Time
		}
	}
	return time.Time{}
}

// imageReasons are the reasons of the kubelet (pkg/kubelet/images/types.go).
var imageReasons = map[string]bool{"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true, "ImageInspectError": true, "RegistryUnavailable": true}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
