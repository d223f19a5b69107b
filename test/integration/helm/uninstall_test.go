package helm_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// Helm marks a release as uninstalling before its hook runs, and then refuses to upgrade it. Each
// command that the hook or the documentation names must work in this state.
func TestReleaseStaysUsableWhenItsUninstallFails(t *testing.T) {
	const namespace = "cleanup"
	node := cluster.MakeNode("leaving", nil)
	node.Finalizers = []string{api.Finalizer}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	succeeds(t, namespace, "install", "nodecleanup", chart, "--create-namespace")

	// The Job does not start, as without its image.
	fails(t, "", namespace, "uninstall", "nodecleanup", "--timeout", "2s")
	wantRelease(t, namespace, 1, "uninstalling")

	hook := runHooks(t, namespace)
	fails(t, "", namespace, "uninstall", "nodecleanup")
	hook.wantSaid("nodes are being cleaned up, and their remaining steps would not run: leaving; nothing was removed",
		"then run: helm uninstall nodecleanup -n cleanup\n", "kubectl nodecleanup uninstall --force && helm uninstall nodecleanup -n cleanup\n",
		"take its newest revision from helm history, and run: helm rollback nodecleanup REVISION -n cleanup")
	wantRelease(t, namespace, 1, "uninstalling")
	fails(t, "has no deployed releases", namespace, "upgrade", "nodecleanup", chart)

	// Keep the release.
	succeeds(t, namespace, "rollback", "nodecleanup", "1")
	wantRelease(t, namespace, 2, "deployed")
	succeeds(t, namespace, "upgrade", "nodecleanup", chart, "--set", "replicas=3")
	wantRelease(t, namespace, 3, "deployed")

	// Uninstall it without the remaining steps.
	fails(t, "", namespace, "uninstall", "nodecleanup")
	hook.wantSaid("nothing was removed")
	if said, code := nodecleanup(t.Context(), shared.Kubeconfig(), "uninstall", "--yes", "--force"); code != exit.OK {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if _, err := client.CoreV1().Nodes().Get(t.Context(), "leaving", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the node is held: %v", err)
	}
	succeeds(t, namespace, "uninstall", "nodecleanup")
	hook.wantSaid("There is nothing to remove")
	if left := succeeds(t, namespace, "list", "--short"); strings.TrimSpace(left) != "" {
		t.Errorf("the release is left: %s", left)
	}
	// The same name can be installed again.
	succeeds(t, namespace, "install", "nodecleanup", chart)
	succeeds(t, namespace, "uninstall", "nodecleanup")
	hook.wantSaid("nodecleanup removed")

	// Without the Job.
	succeeds(t, namespace, "install", "nodecleanup", chart)
	if said, code := nodecleanup(t.Context(), shared.Kubeconfig(), "uninstall", "--yes"); code != exit.OK {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	succeeds(t, namespace, "uninstall", "nodecleanup", "--no-hooks")
}

// hooks are the runs of the Job of the pre-delete hook.
type hooks struct {
	*testing.T
	said chan string
}

// wantSaid checks that the log of the last Job contains the texts.
func (h hooks) wantSaid(texts ...string) {
	h.Helper()
	said := <-h.said
	for _, text := range texts {
		if !strings.Contains(said, text) {
			h.Errorf("the Job does not say %q:\n%s", text, said)
		}
	}
}

// runHooks runs every Job that Helm creates in the namespace, until the test ends.
func runHooks(t *testing.T, namespace string) hooks {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	jobs := client.BatchV1().Jobs(namespace)
	existing, err := jobs.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := jobs.Watch(ctx, metav1.ListOptions{ResourceVersion: existing.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	h, ended := hooks{t, make(chan string, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		for event := range watcher.ResultChan() {
			job, is := event.Object.(*batchv1.Job)
			if event.Type != watch.Added || !is {
				continue
			}
			said, code := h.run(ctx, job)
			h.Logf("the Job ends with exit code %d\n%s", code, said)
			h.said <- said
			job.Status = statusOf(code)
			if _, err := jobs.UpdateStatus(ctx, job, metav1.UpdateOptions{}); err != nil {
				h.Errorf("writing the status of the Job: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		watcher.Stop()
		<-ended
	})
	return h
}

// run runs the command of a Job as its service account.
func (h hooks) run(ctx context.Context, job *batchv1.Job) (string, int) {
	h.Helper()
	pod := job.Spec.Template.Spec
	kubeconfig, err := shared.KubeconfigFor("system:serviceaccount:"+job.Namespace+":"+pod.ServiceAccountName,
		"system:serviceaccounts", "system:serviceaccounts:"+job.Namespace, "system:authenticated")
	if err != nil {
		h.Error(err)
	}
	return nodecleanup(ctx, kubeconfig, pod.Containers[0].Args...)
}

func nodecleanup(ctx context.Context, kubeconfig string, arguments ...string) (string, int) {
	var said bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &said, ErrOut: &said}
	err := cli.Execute(ctx, streams, append(arguments, "--kubeconfig", kubeconfig))
	return said.String(), exit.Code(ctx, err)
}

// statusOf returns the status of a Job whose Pod has ended.
func statusOf(code int) batchv1.JobStatus {
	now := metav1.Now()
	status := batchv1.JobStatus{StartTime: &now}
	is := func(kind batchv1.JobConditionType) {
		status.Conditions = append(status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	if code != exit.OK {
		is(batchv1.JobFailureTarget)
		is(batchv1.JobFailed)
		return status
	}
	is(batchv1.JobSuccessCriteriaMet)
	is(batchv1.JobComplete)
	status.Succeeded, status.CompletionTime = 1, &now
	return status
}
