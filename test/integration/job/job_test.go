package job_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
)

// The agent is stopped while the Pod runs. The next one adopts the Job, and records its outputs.
func TestAdoptsTheJobOfAnInterruptedAttempt(t *testing.T) {
	f := setUp(t)
	plugin := f.plugin(f.options(""))
	ctx, stop := context.WithCancel(t.Context())
	first := f.cleanUp(ctx, plugin)
	pod := f.scheduled()
	if pod.Spec.NodeName != f.other.Name {
		t.Errorf("the Pod runs on %s, the Node that is cleaned up is %s", pod.Spec.NodeName, f.own.Name)
	}
	f.runs(pod)
	f.awaitProgress("runs on node " + f.other.Name)
	stop()
	if err := f.result(first); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "runs on node") {
		t.Errorf("the interrupted attempt ended with %v", err)
	}
	second := f.cleanUp(t.Context(), plugin)
	f.ends(pod, 0, "number=4711\n")
	if err := f.result(second); err != nil {
		t.Fatal(err)
	}
	if jobs := f.jobs(); len(jobs) != 1 || f.outputs["number"] != "4711" {
		t.Errorf("%d jobs, outputs %v", len(jobs), f.outputs)
	}
	// A third one, after a crash before the result was saved.
	clear(f.outputs)
	if err := plugin.Cleanup(t.Context(), f.target()); err != nil || len(f.jobs()) != 1 || f.outputs["number"] != "4711" {
		t.Errorf("after the end of the Job: %v, %d jobs, outputs %v", err, len(f.jobs()), f.outputs)
	}
	// In a later cleanup of the same Node, the work is not done.
	later := f.target()
	later.Began = began.Add(time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(t.Context(), later) }()
	f.ends(f.scheduled(), 0, "")
	if err := f.result(ended); err != nil || len(f.jobs()) != 2 {
		t.Errorf("a later cleanup: %v, %d jobs", err, len(f.jobs()))
	}
}

func TestAFailedJobIsAFailedAttempt(t *testing.T) {
	f := setUp(t)
	plugin := f.plugin(f.options(""))
	first := f.cleanUp(t.Context(), plugin)
	f.ends(f.scheduled(), 3, "no such bucket")
	err := f.result(first)
	if err == nil || !strings.Contains(err.Error(), "exited with code 3: no such bucket; cannot read its log: ") || cleanup.IsPermanent(err) {
		t.Errorf("the error is %v", err)
	}
	second := f.cleanUp(t.Context(), plugin)
	f.ends(f.scheduled(), 0, "")
	if err := f.result(second); err != nil || len(f.jobs()) != 2 {
		t.Errorf("the second attempt: %v, %d jobs", err, len(f.jobs()))
	}
}

// An evicted Pod is replaced in the same attempt.
func TestAnEvictedPodIsReplaced(t *testing.T) {
	f := setUp(t)
	ended := f.cleanUp(t.Context(), f.plugin(f.options("")))
	evicted := f.scheduled()
	f.runs(evicted)
	f.ends(evicted, 137, "", corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"})
	f.ends(f.scheduled(), 0, "number=1")
	if err := f.result(ended); err != nil || len(f.jobs()) != 1 || f.outputs["number"] != "1" {
		t.Errorf("the attempt: %v, %d jobs, outputs %v", err, len(f.jobs()), f.outputs)
	}
}

func TestSaysWhyThereIsNoPod(t *testing.T) {
	f := setUp(t)
	label := []byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`)
	if _, err := f.client.CoreV1().Namespaces().Patch(t.Context(), f.namespace, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	plugin := f.plugin(f.options(""))
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil || !strings.Contains(effects[0].Unchecked, "the API server warns: would violate PodSecurity") {
		t.Errorf("previewed %v, %v", effects, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := f.cleanUp(ctx, plugin)
	f.awaitProgress("has no Pod: FailedCreate: Error creating: pods ")
	f.awaitProgress("violates PodSecurity")
	stop()
	if err := f.result(ended); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("the error is %v", err)
	}
}

// A Job that is not done in time ends by itself, and the error says what its Pod waited for.
func TestAJobEndsWithTheAttempt(t *testing.T) {
	f := setUp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := f.cleanUp(ctx, f.plugin(f.options("")))
	pod := f.scheduled()
	f.report(pod, corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}})
	f.awaitProgress("container main waits: ImagePullBackOff: no such image")
	f.eventually("the Pod is deleted", func(ctx context.Context) (bool, error) {
		current, err := f.client.CoreV1().Pods(f.namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && current.DeletionTimestamp != nil, err
	})
	f.removes(pod)
	err := f.result(ended)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "was not done within 1") || !strings.Contains(err.Error(), "the rest of the step's timeout") {
		t.Errorf("the error is %v, that of the attempt %v", err, ctx.Err())
	}
}

// On a dead host, a Pod that was deleted never ends. The next attempt creates a new Job.
func TestAPodThatNeverEndsHoldsOneAttempt(t *testing.T) {
	f := setUp(t)
	plugin := f.plugin(f.options(`, "onNode": true`))
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	ended := f.cleanUp(ctx, plugin)
	dead := f.scheduled()
	if dead.Spec.NodeName != f.own.Name {
		t.Errorf("the Pod runs on %s, not on %s", dead.Spec.NodeName, f.own.Name)
	}
	f.runs(dead)
	if err := f.result(ended); err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "DeadlineExceeded: ") || !strings.Contains(err.Error(), "terminates on node "+f.own.Name) {
		t.Errorf("the error is %v", err)
	}
	next := f.cleanUp(t.Context(), plugin)
	f.eventually("there is a second Job", func(context.Context) (bool, error) { return len(f.jobs()) == 2, nil })
	f.ends(f.scheduled(), 0, "")
	if err := f.result(next); err != nil {
		t.Error(err)
	}
}

// The Pod on a cordoned Node whose kubelet is lost still comes there. When it has ended, no drain waits
// for it.
func TestAPodOnTheNodeAndADrain(t *testing.T) {
	f := setUp(t)
	patch := []byte(`{"spec": {"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}}`)
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), f.own.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := f.cleanUp(t.Context(), f.plugin(f.options(`, "onNode": true`)))
	pod := f.scheduled()
	if pod.Spec.NodeName != f.own.Name {
		t.Fatalf("the Pod runs on %s, not on %s", pod.Spec.NodeName, f.own.Name)
	}
	f.runs(pod)
	drained, faults := drain.Descriptor(kubernetes.NewForConfigOrDie(shared.RESTConfig()), clock.RealClock{}, nil).Bind(nil)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	verify := func() string {
		undone, err := drained.(cleanup.Verifier).Verify(t.Context(), f.target())
		if err != nil {
			t.Fatal(err)
		}
		return undone
	}
	if undone := verify(); !strings.Contains(undone, pod.Name) {
		t.Errorf("while the Pod runs, the drain says %q", undone)
	}
	f.ends(pod, 0, "")
	if err := f.result(ended); err != nil {
		t.Fatal(err)
	}
	if undone := verify(); undone != "" {
		t.Errorf("after the end of the Job, the drain says %q", undone)
	}
}

func TestWithdrawDeletesOnlyUnfinishedJobs(t *testing.T) {
	f := setUp(t)
	plugin := f.plugin(f.options(""))
	withdraw := func() {
		if err := plugin.(cleanup.Withdrawer).Withdraw(t.Context(), f.target()); err != nil {
			t.Fatal(err)
		}
	}
	withdraw() // Before the step began.
	first := f.cleanUp(t.Context(), plugin)
	f.ends(f.scheduled(), 1, "")
	if err := f.result(first); err == nil {
		t.Fatal("the first attempt succeeded")
	}
	second := f.cleanUp(t.Context(), plugin)
	f.scheduled()
	withdraw()
	if err := f.result(second); err == nil || !strings.Contains(err.Error(), "was deleted before the agent read its result") {
		t.Errorf("the interrupted attempt ended with %v", err)
	}
	withdraw()
	f.eventually("only the finished Job is left", func(context.Context) (bool, error) {
		jobs := f.jobs()
		return len(jobs) == 1 && strings.HasSuffix(jobs[0].Name, "-1"), nil
	})
}

func TestAForeignJobOfTheNameIsAnError(t *testing.T) {
	f := setUp(t)
	plugin := f.plugin(f.options(""))
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	foreign := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: effects[0].Object.Name}, Spec: batchv1.JobSpec{Suspend: new(true), Template: corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "a"}}},
	}}}
	if _, err := f.client.BatchV1().Jobs(f.namespace).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := plugin.Cleanup(t.Context(), f.target()); err == nil || !strings.Contains(err.Error(), "a Job of this name exists, and it is not of this step") {
		t.Errorf("the error is %v", err)
	}
}

func TestPreviewAsksTheAPIServer(t *testing.T) {
	f := setUp(t)
	descriptor := f.descriptor(f.options(""))
	preview := func(descriptor cleanup.Descriptor) string {
		t.Helper()
		plugin, faults := descriptor.Bind([]byte(f.options("")))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target())
		if err != nil || len(effects) != 1 {
			t.Fatalf("previewed %v, %v", effects, err)
		}
		return effects[0].String()
	}
	if got := preview(descriptor); !strings.HasPrefix(got, "run Job "+f.namespace+"/archive-") || !strings.HasSuffix(got, "-1 (with service account default, not on this node)") {
		t.Errorf("the effect is %s", got)
	}
	nobody := job.Descriptor(kubernetes.NewForConfigOrDie(shared.RESTConfigFor("nobody")), clock.RealClock{}, "")
	if got := preview(nobody); !strings.Contains(got, "(not checked: no right to create jobs in namespace "+f.namespace) {
		t.Errorf("without rights, the effect is %s", got)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}}}
	if _, err := f.client.CoreV1().ResourceQuotas(f.namespace).Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the quota is enforced", func(context.Context) (bool, error) {
		return strings.Contains(preview(descriptor), "(blocked: jobs.batch ") && strings.Contains(preview(descriptor), "exceeded quota: none"), nil
	})
	if jobs := f.jobs(); len(jobs) != 0 {
		t.Errorf("the previews created %d Jobs", len(jobs))
	}
}

func TestHealth(t *testing.T) {
	f := setUp(t)
	for options, want := range map[string]string{
		f.options(""): "",
		f.options(`, "serviceAccountName": "absent"`):                                   `reading service account ` + f.namespace + `/absent: serviceaccounts "absent" not found`,
		strings.Replace(f.options(""), "localhost/step:1", "", 1):                       "spec.template.spec.containers[0].image: Required value",
		`{"namespace": "` + f.namespace + `", "templateFrom": {"configMap": "absent"}}`: `reading the Pod template: configmaps "absent" not found`,
	} {
		err := f.plugin(options).(cleanup.HealthChecker).CheckHealth(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: the health is %v, want %s", options, err, want)
		}
	}
	if jobs := f.jobs(); len(jobs) != 0 {
		t.Errorf("the health checks created %d Jobs", len(jobs))
	}
}
