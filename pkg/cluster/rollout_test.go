package cluster

import (
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRolloutPending(t *testing.T) {
	two := int32(2)
	for name, test := range map[string]struct {
		status appsv1.DeploymentStatus
		want   string
	}{
		"rolled out":      {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}, ""},
		"status is old":   {appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}, "waiting for the deployment controller"},
		"old pods only":   {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2}, "1 of 2 updated"},
		"not ready":       {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1}, "1 of 2 available"},
		"old pods remain": {appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 2}, "pods of the old version that still run: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 5}, Spec: appsv1.DeploymentSpec{Replicas: &two}, Status: test.status}
			if got := RolloutPending(deployment); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRolloutStall(t *testing.T) {
	condition := func(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
		return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	pod := func(name string, state, last corev1.ContainerState) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: state, LastTerminationState: last, RestartCount: 3}}}}
	}
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	ended := func(code int32, reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
	}
	var none corev1.ContainerState
	ready := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Ready: true, LastTerminationState: ended(1, "Error", "long ago")}}}}
	leaving := pod("leaving", waiting("ImagePullBackOff", "not found"), none)
	leaving.DeletionTimestamp = &metav1.Time{}
	unschedulable := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available: 3 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
	}}}
	refused := condition(appsv1.DeploymentReplicaFailure, corev1.ConditionTrue, "FailedCreate", `pods "agent-" is forbidden: unable to validate against any security context constraint`)
	deadline := condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ProgressDeadlineExceeded", `ReplicaSet "agent-1" has timed out progressing.`)
	imageOf := func(name, image string, state corev1.ContainerState) corev1.Pod {
		made := pod(name, state, none)
		made.Spec.Containers = []corev1.Container{{Name: "agent", Image: image}}
		return made
	}
	for name, test := range map[string]struct {
		conditions []appsv1.DeploymentCondition
		pods       []corev1.Pod
		done       bool
		want       *Stall
	}{
		"nothing is known":                   {[]appsv1.DeploymentCondition{condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", "")}, []corev1.Pod{ready, pod("a", waiting("ContainerCreating", ""), none)}, false, nil},
		"refused":                            {[]appsv1.DeploymentCondition{deadline, refused}, nil, false, &Stall{Text: `FailedCreate: pods "agent-" is forbidden: unable to validate against any security context constraint`, Refused: true}},
		"refused before":                     {[]appsv1.DeploymentCondition{condition(appsv1.DeploymentReplicaFailure, corev1.ConditionFalse, "FailedCreate", "")}, nil, false, nil},
		"rolled out":                         {[]appsv1.DeploymentCondition{refused}, []corev1.Pod{pod("a", waiting("ImagePullBackOff", ""), none)}, true, nil},
		"image, beside a ready":              {nil, []corev1.Pod{ready, pod("a", waiting("ErrImagePull", "not found\nmore"), none)}, false, &Stall{Text: "pod a: ErrImagePull: not found", Pod: "a", Image: true}},
		"of a pod that terminates":           {[]appsv1.DeploymentCondition{deadline}, []corev1.Pod{leaving}, false, &Stall{Text: `ProgressDeadlineExceeded: ReplicaSet "agent-1" has timed out progressing.`}},
		"waits for an earlier image":         {nil, []corev1.Pod{imageOf("a", "v2", waiting("ErrImagePull", "not found")), imageOf("b", "v1", waiting("ContainerCreating", ""))}, false, nil},
		"waits for another image, as all do": {nil, []corev1.Pod{imageOf("a", "v2", waiting("ErrImagePull", "not found"))}, false, &Stall{Text: "pod a: ErrImagePull: not found", Pod: "a", Image: true}},
		"crash, with its log":                {nil, []corev1.Pod{pod("a", waiting("CrashLoopBackOff", "back-off 5m0s"), ended(2, "Error", "start\nloading config: line 3\n"))}, false, &Stall{Text: "pod a: CrashLoopBackOff: exit code 2: loading config: line 3", Pod: "a", Crashed: true}},
		"crash without a message":            {nil, []corev1.Pod{pod("a", waiting("CrashLoopBackOff", "back-off 5m0s"), ended(137, "OOMKilled", ""))}, false, &Stall{Text: "pod a: CrashLoopBackOff: OOMKilled, exit code 137", Pod: "a", Crashed: true}},
		"crash without a record":             {nil, []corev1.Pod{pod("a", waiting("CrashLoopBackOff", "back-off 5m0s"), none)}, false, &Stall{Text: "pod a: CrashLoopBackOff: back-off 5m0s", Pod: "a"}},
		"between two crashes":                {nil, []corev1.Pod{pod("a", ended(1, "Error", "no route to host"), ended(1, "Error", "before"))}, false, &Stall{Text: "pod a: restarted 3 times: exit code 1: no route to host", Pod: "a", Crashed: true}},
		"unschedulable":                      {nil, []corev1.Pod{unschedulable}, false, &Stall{Text: "pod a: 0/3 nodes are available: 3 node(s) had untolerated taint(s).", Pod: "a", Unschedulable: true}},
	} {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: test.conditions}}
			if strings.HasPrefix(name, "waits for") {
				deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", Image: "v1"}}
			}
			if test.done {
				deployment.Status.UpdatedReplicas, deployment.Status.AvailableReplicas, deployment.Status.Replicas = 1, 1, 1
			}
			if got := RolloutStall(deployment, test.pods); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
