package job

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhichJobAnAttemptWaitsFor(t *testing.T) {
	target := targetOf(node())
	made := func(number int, began time.Time, conditions ...batchv1.JobConditionType) batchv1.Job {
		job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(number), Annotations: map[string]string{
			annotationKey: target.IdempotencyKey, annotationNumber: strconv.Itoa(number), annotationBegan: began.Format(time.RFC3339),
		}}}
		for _, one := range conditions {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: one, Status: corev1.ConditionTrue})
		}
		return job
	}
	foreign := made(7, start)
	foreign.Annotations[annotationKey] = "other/archive"
	deleted := made(1, start)
	deleted.DeletionTimestamp = &metav1.Time{Time: start}
	succeededAndDeleted := made(1, start, batchv1.JobComplete)
	succeededAndDeleted.DeletionTimestamp = &metav1.Time{Time: start}
	earlier := start.Add(-time.Hour)
	for name, test := range map[string]struct {
		jobs   []batchv1.Job
		adopt  string
		number int
		failed string
	}{
		"none":                               {nil, "", 1, ""},
		"one that runs":                      {[]batchv1.Job{made(1, start)}, "1", 2, ""},
		"one that runs since before a retry": {[]batchv1.Job{made(1, earlier)}, "1", 2, ""},
		"one that has succeeded":             {[]batchv1.Job{made(1, start, batchv1.JobComplete)}, "1", 2, ""},
		"one that succeeded in an earlier cleanup": {[]batchv1.Job{made(1, earlier, batchv1.JobComplete)}, "", 2, ""},
		"one that has failed":                      {[]batchv1.Job{made(1, start, batchv1.JobFailed)}, "", 2, "1"},
		"one that cannot succeed on a dead host":   {[]batchv1.Job{made(1, start, batchv1.JobFailureTarget)}, "", 2, "1"},
		"a failed one, and one that runs":          {[]batchv1.Job{made(1, start, batchv1.JobFailed), made(2, start)}, "2", 3, ""},
		"several failed ones, in any order":        {[]batchv1.Job{made(9, start, batchv1.JobFailed), made(10, start, batchv1.JobFailed), made(2, start, batchv1.JobFailed)}, "", 11, "10"},
		"a foreign one with the label":             {[]batchv1.Job{foreign}, "", 1, ""},
		"one that is deleted":                      {[]batchv1.Job{deleted}, "", 2, ""},
		"one that has succeeded and is deleted":    {[]batchv1.Job{succeededAndDeleted}, "", 2, ""},
	} {
		got := choose(test.jobs, target)
		of := func(job *batchv1.Job) string {
			if job == nil {
				return ""
			}
			return job.Name
		}
		if of(got.adopt) != test.adopt || got.number != test.number || of(got.failed) != test.failed {
			t.Errorf("%s: adopted %q, number %d, failed %q, want %+v", name, of(got.adopt), got.number, of(got.failed), test)
		}
	}
}

func podWith(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "archive-x"}, Spec: corev1.PodSpec{NodeName: "worker-2"}}
	pod.Status.Phase = corev1.PodPending
	change(pod)
	return pod
}

func waiting(reason, message string) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
}

func ended(code int32, reason, message string) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}}}
}

func TestProgressOfAPod(t *testing.T) {
	for want, pod := range map[string]*corev1.Pod{
		"pod ops/archive-x is not scheduled yet": podWith(func(pod *corev1.Pod) { pod.Spec.NodeName = "" }),
		"pod ops/archive-x is not scheduled: Unschedulable: 0/3 nodes are available": podWith(func(pod *corev1.Pod) {
			pod.Spec.NodeName = ""
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes\nare available"}}
		}),
		"pod ops/archive-x was assigned to node worker-2, whose kubelet has not started it yet": podWith(func(*corev1.Pod) {}),
		"pod ops/archive-x starts on node worker-2":                                             podWith(func(pod *corev1.Pod) { pod.Status.ContainerStatuses = waiting("ContainerCreating", "") }),
		"pod ops/archive-x: container main waits: ImagePullBackOff: Back-off pulling image \"a\"": podWith(func(pod *corev1.Pod) {
			pod.Status.ContainerStatuses = waiting("ImagePullBackOff", "Back-off pulling image \"a\"")
		}),
		"pod ops/archive-x: container main waits: CreateContainerConfigError": podWith(func(pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.InitContainerStatuses = corev1.PodRunning, waiting("CreateContainerConfigError", "")
		}),
		"pod ops/archive-x runs on node worker-2 since 2026-11-30T12:00:00Z": podWith(func(pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodRunning
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start)}}}}
		}),
		"pod ops/archive-x terminates on node worker-2": podWith(func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: start} }),
		"pod ops/archive-x has ended":                   podWith(func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }),
	} {
		if got := progressOf(pod); got != want {
			t.Errorf("the progress is %q, want %q", got, want)
		}
	}
}

func TestFailureOfAPod(t *testing.T) {
	for want, pod := range map[string]*corev1.Pod{
		"pod ops/archive-x has failed": podWith(func(*corev1.Pod) {}),
		"pod ops/archive-x has failed: Evicted The node was low on resource: memory": podWith(func(pod *corev1.Pod) {
			pod.Status.Reason, pod.Status.Message = "Evicted", "The node was low on resource: memory"
		}),
		"container main of pod ops/archive-x exited with code 3":               podWith(func(pod *corev1.Pod) { pod.Status.ContainerStatuses = ended(3, "Error", "") }),
		"container main of pod ops/archive-x exited with code 137 (OOMKilled)": podWith(func(pod *corev1.Pod) { pod.Status.ContainerStatuses = ended(137, "OOMKilled", "") }),
		"container main of pod ops/archive-x exited with code 1: no such bucket x": podWith(func(pod *corev1.Pod) {
			pod.Status.ContainerStatuses = ended(1, "Error", "no such\n\x1bbucket x\n")
		}),
		"container main of pod ops/archive-x exited with code 2: " + strings.Repeat("m", maxMessage) + "…": podWith(func(pod *corev1.Pod) { pod.Status.InitContainerStatuses = ended(2, "Error", strings.Repeat("m", 4096)) }),
	} {
		if got := failureOf(pod); got != want {
			t.Errorf("the failure is %q, want %q", got, want)
		}
	}
}

func TestLastLines(t *testing.T) {
	for log, want := range map[string]string{
		"":                           "",
		"\n\n":                       "",
		"a\r\nb\x1b[31m red\n\nc":    "a | b[31m red | c",
		strings.Repeat("x\n", 10000): "…" + strings.Repeat("x | ", 125)[:maxLog],
	} {
		got := lastLines(log)
		if len(got) > maxLog+len("…") || want != got && !strings.HasPrefix(want, "…") || strings.HasPrefix(want, "…") && !strings.HasSuffix(got, "| x") {
			t.Errorf("the last lines of %.20q are %q, want %q", log, got, want)
		}
	}
}

func TestOutputsInTheTerminationMessage(t *testing.T) {
	pod := podWith(func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = append(ended(0, "Completed", "number=4711\nurl = https://a/?b=c \n\nall done\nnumber=4712\r\n"), waiting("PodInitializing", "")...)
	})
	outputs, others := outputsIn(pod)
	if want := map[string]string{"number": "4712", "url": "https://a/?b=c"}; !reflect.DeepEqual(outputs, want) || others != 1 {
		t.Errorf("the outputs are %v and %d other lines, want %v", outputs, others, want)
	}
}
