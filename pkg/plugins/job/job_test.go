package job

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	groups "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// silent returns a target without a log.
func silent() cleanup.Target {
	target := targetOf(node())
	target.Log, target.Progress = slog.New(slog.DiscardHandler), func(string) {}
	return target
}

func boundTo(t *testing.T, client *fake.Clientset) cleanup.Plugin {
	t.Helper()
	bound, faults := Descriptor(client, clock.RealClock{}, "ns").Bind([]byte(oneContainer))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return bound
}

func TestRefusedJobIsPermanentOnlyWithAnInvalidField(t *testing.T) {
	kind := groups.GroupKind{Group: "batch", Kind: "Job"}
	for name, test := range map[string]struct {
		refusal   error
		permanent bool
	}{
		"invalid field": {apierrors.NewInvalid(kind, "x", field.ErrorList{field.Required(field.NewPath("spec"), "")}), true},
		// As the API server builds it for a ValidatingAdmissionPolicy without a reason.
		"denied by a policy": {&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 422, Reason: metav1.StatusReasonInvalid,
			Message: `jobs.batch "x" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: no Jobs at night`,
			Details: &metav1.StatusDetails{Kind: "jobs", Causes: []metav1.StatusCause{{Message: "no Jobs at night"}}},
		}}, false},
		"no details": {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid}}, false},
		"forbidden":  {apierrors.NewForbidden(groups.GroupResource{Resource: "jobs"}, "x", errors.New("no quota")), false},
	} {
		client := fake.NewClientset()
		client.PrependReactor("create", "jobs", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, test.refusal })
		err := boundTo(t, client).Cleanup(t.Context(), silent())
		if err == nil || cleanup.IsPermanent(err) != test.permanent {
			t.Errorf("%s: permanent is %t, want %t: %v", name, cleanup.IsPermanent(err), test.permanent, err)
		}
	}
}

// The leader before can create the Job of a step between the list and the create of the next leader. To
// delete that Job would run the work twice.
func TestJobThatAppearsAfterTheList(t *testing.T) {
	target := silent()
	for name, test := range map[string]struct {
		change func(*batchv1.Job)
		want   string // In the error, "" for none.
	}{
		"of this step": {func(job *batchv1.Job) { addCondition(job, batchv1.JobComplete, "") }, ""},
		"of this step, failed": {
			func(job *batchv1.Job) { addCondition(job, batchv1.JobFailed, "BackoffLimitExceeded") },
			"another replica of the agent has created it, and it has failed or is deleted",
		},
		"of another client": {func(job *batchv1.Job) { job.Annotations = nil }, "it is not of this step. Next: delete it"},
	} {
		existing := buildFor(t, bind(t, oneContainer), target, 1)
		test.change(existing)
		client := fake.NewClientset(existing)
		first := true
		client.PrependReactor("list", "jobs", func(ktesting.Action) (bool, runtime.Object, error) {
			stale := first
			first = false
			return stale, &batchv1.JobList{}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := boundTo(t, client).Cleanup(ctx, target)
		cancel()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: the error is %v, want %q", name, err, test.want)
		}
	}
}

// A user can remove the deadline of a Job, also of one that has failed by it.
func TestJobWithoutDeadlineThatExceededIt(t *testing.T) {
	job := buildFor(t, bind(t, oneContainer), silent(), 1)
	job.Spec.ActiveDeadlineSeconds = nil
	addCondition(job, batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)
	err := bind(t, oneContainer).failure(t.Context(), job, nil, "")
	if want := batchv1.JobReasonDeadlineExceeded; !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %q in it", err, want)
	}
}

func addCondition(job *batchv1.Job, kind batchv1.JobConditionType, reason string) {
	job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason})
}

func TestTheLastLineOfTheLogIsTheProgress(t *testing.T) {
	running := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{NodeName: "other"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
	pending := running.DeepCopy()
	pending.Status = corev1.PodStatus{Phase: corev1.PodPending}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		more string
		want string
	}{
		"with the option":                {running, `, "logProgress": true`, "fake logs"}, // What the fake client returns.
		"a Pod that has not started yet": {pending, `, "logProgress": true`, "pod ns/p was assigned to node other, whose kubelet has not started it yet"},
		"without the option":             {running, "", "pod ns/p runs on node other since 0001-01-01T00:00:00Z"},
	} {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j", UID: "1"}}
		pod := test.pod.DeepCopy()
		pod.Labels = map[string]string{batchv1.JobNameLabel: "j"}
		pod.OwnerReferences = []metav1.OwnerReference{{UID: "1", Controller: new(true)}}
		options := strings.TrimSuffix(oneContainer, "}") + test.more + "}"
		bound, faults := Descriptor(fake.NewClientset(pod), clock.RealClock{}, "ns2").Bind([]byte(options))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if got, err := bound.(*plugin).progress(t.Context(), job); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
