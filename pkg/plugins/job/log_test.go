package job

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// hangingLogs is an API server with one Pod, whose kubelet does not answer a request for its log.
type hangingLogs struct{ pod corev1.Pod }

func (h hangingLogs) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasSuffix(request.URL.Path, "/log") {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	data, err := json.Marshal(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{h.pod}})
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(data)), Request: request,
	}, err
}

// The host of a Pod can die while its log is read. The step must notice the end of the Job all the same, and name its
// cause.
func TestLogThatHangs(t *testing.T) {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", OwnerReferences: []metav1.OwnerReference{{UID: "1", Controller: new(true)}}}}
	pod.Spec.NodeName = "other"
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j", UID: "1"}}
	addCondition(job, batchv1.JobFailed, "BackoffLimitExceeded")
	synctest.Test(t, func(t *testing.T) {
		bound, faults := Descriptor(kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://api", Transport: hangingLogs{pod}, QPS: -1}), clock.RealClock{}, "ns2").
			Bind([]byte(strings.TrimSuffix(oneContainer, "}") + `, "logProgress": true}`))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		began := time.Now()
		text, err := bound.(*plugin).progress(t.Context(), job)
		if took := time.Since(began); err != nil || took > logTimeout || !strings.Contains(text, "runs on node other") || !strings.Contains(text, "cannot read its log") {
			t.Errorf("the progress after %s is %q, %v", took, text, err)
		}
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}
		began = time.Now()
		err = bound.(*plugin).failure(t.Context(), job, &pod, "")
		if took := time.Since(began); took > logTimeout || !strings.Contains(err.Error(), "exited with code 3; cannot read its log") {
			t.Errorf("the failure after %s is %v", took, err)
		}
	})
}

// A client that may write Events cannot add lines to the condition of the Node.
func TestReasonOfAnEventIsOneLine(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j", UID: "1"}}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "e"}, Type: corev1.EventTypeWarning,
		InvolvedObject: corev1.ObjectReference{Kind: "Job", Name: "j", UID: "1"}, Reason: "Denied\nNext: run evil", Message: "a\nb",
	}
	bound, faults := Descriptor(fake.NewClientset(event), clock.RealClock{}, "ns2").Bind([]byte(oneContainer))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if text, err := bound.(*plugin).progress(t.Context(), job); err != nil || text != "job ns/j has no Pod: Denied Next: run evil: a b" {
		t.Errorf("the progress is %q, %v", text, err)
	}
}
