package install

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUnavailable(t *testing.T) {
	two := int32(2)
	for name, test := range map[string]struct {
		status appsv1.DeploymentStatus
		want   string
	}{
		"rolled out":      {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}, ""},
		"status is old":   {appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}, "the new version was not seen yet by the deployment controller"},
		"old pods only":   {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2}, "1 of 2 updated"},
		"not ready":       {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1}, "1 of 2 available"},
		"old pods remain": {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 2}, "1 of the old version still there"},
	} {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 5}, Spec: appsv1.DeploymentSpec{Replicas: &two}, Status: test.status}
			if got := unavailable(deployment); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestWhyNotRunning(t *testing.T) {
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	for name, test := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"image":         {waiting("ImagePullBackOff", "not found\nmore"), "ImagePullBackOff: not found"},
		"no message":    {waiting("CrashLoopBackOff", ""), "CrashLoopBackOff"},
		"just starting": {waiting("ContainerCreating", ""), ""},
		"unschedulable": {corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"},
		}}, "0/3 nodes are available"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := whyNotRunning(&corev1.Pod{Status: test.status}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
