package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// newest returns the Pod that was created last, nil if there is none.
func newest(pods []corev1.Pod) *corev1.Pod {
	var last *corev1.Pod
	for i := range pods {
		if last == nil || last.CreationTimestamp.Before(&pods[i].CreationTimestamp) {
			last = &pods[i]
		}
	}
	return last
}

// progressOf describes in one line what a Pod does or waits for.
func progressOf(pod *corev1.Pod) string {
	name := "pod " + pod.Namespace + "/" + pod.Name
	if pod.DeletionTimestamp != nil {
		return fmt.Sprintf("%s terminates on node %s", name, pod.Spec.NodeName)
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed:
		return name + " has ended"
	case corev1.PodRunning:
		if status := failingContainer(pod); status != "" {
			return name + ": " + status
		}
		since := ""
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Running != nil {
				// Not "for 10s": each change of the text is written to the Node.
				since = " since " + status.State.Running.StartedAt.UTC().Format(time.RFC3339)
			}
		}
		return fmt.Sprintf("%s runs on node %s%s", name, pod.Spec.NodeName, since)
	}
	for _, one := range pod.Status.Conditions {
		if one.Type == corev1.PodScheduled && one.Status == corev1.ConditionFalse {
			return fmt.Sprintf("%s is not scheduled: %s: %s", name, one.Reason, oneLine(one.Message))
		}
	}
	if status := failingContainer(pod); status != "" {
		return name + ": " + status
	}
	if pod.Spec.NodeName == "" {
		return name + " is not scheduled yet"
	}
	if len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) == 0 {
		return fmt.Sprintf("%s was assigned to node %s, whose kubelet has not started it yet", name, pod.Spec.NodeName)
	}
	return fmt.Sprintf("%s starts on node %s", name, pod.Spec.NodeName)
}

// failingContainer describes a container that waits for a reason that may not end, such as
// ImagePullBackOff. It is empty if there is none.
func failingContainer(pod *corev1.Pod) string {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting := status.State.Waiting
		if waiting == nil || waiting.Reason == "" || waiting.Reason == "ContainerCreating" || waiting.Reason == "PodInitializing" {
			continue
		}
		text := fmt.Sprintf("container %s waits: %s", status.Name, waiting.Reason)
		if waiting.Message != "" {
			text += ": " + oneLine(waiting.Message)
		}
		return text
	}
	return ""
}

// runningContainer returns the name of the first container that runs, "" if none does.
func runningContainer(pod *corev1.Pod) string {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if status.State.Running != nil {
			return status.Name
		}
	}
	return ""
}

// failedContainer returns the container that ended with an error, nil if there is none.
func failedContainer(pod *corev1.Pod) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if ended := list[i].State.Terminated; ended != nil && ended.ExitCode != 0 {
				return &list[i]
			}
		}
	}
	return nil
}

// failureOf describes why a Pod has failed.
func failureOf(pod *corev1.Pod) string {
	name := "pod " + pod.Namespace + "/" + pod.Name
	status := failedContainer(pod)
	if status == nil {
		if pod.Status.Reason == "" && pod.Status.Message == "" {
			return name + " has failed"
		}
		return fmt.Sprintf("%s has failed: %s", name, truncate.Bytes(oneLine(strings.TrimSpace(pod.Status.Reason+" "+pod.Status.Message)), maxMessage))
	}
	ended := status.State.Terminated
	text := fmt.Sprintf("container %s of %s exited with code %d", status.Name, name, ended.ExitCode)
	if ended.Reason != "" && ended.Reason != "Error" {
		text += " (" + ended.Reason + ")"
	}
	if message := oneLine(ended.Message); message != "" {
		text += ": " + truncate.Bytes(message, maxMessage)
	}
	return text
}
