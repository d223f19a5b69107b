package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// answersAt gives a client the responses of API servers with wrong clocks in turn, as a load
// balancer distributes requests.
func answersAt(config *rest.Config, off ...time.Duration) {
	var answers atomic.Uint64
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil {
				by := off[int(answers.Add(1)-1)%len(off)]
				response.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			}
			return response, err
		})
	})
}

// By the time of the responses, the deadline has passed. In fact, the Node was deleted a moment
// ago.
func TestNoNodeIsReleasedEarlyByOneWrongClock(t *testing.T) {
	f := setUp(t, "deadline: {after: 30m, action: Release}\nretry: {maxRetries: 0}\nsteps:\n- {name: fails, plugin: probe}\n")
	for name, off := range map[string][]time.Duration{
		"all":     {2 * time.Hour},
		"half":    {0, 2 * time.Hour},
		"one-ten": {0, 0, 0, 0, 0, 0, 0, 0, 0, 365 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			f.probes[""] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
			options := f.options()
			answersAt(options.REST, off...)
			defer f.start(options)()
			node := f.protected("worker-" + name)
			f.delete(node)
			f.awaitState(node, api.Failed)
			// Each request has the node looked at again, with other answers before it.
			for i := range 20 {
				request := fmt.Sprint(i)
				f.patch(node, `{"metadata":{"annotations":{"`+api.AnnotationRetryRequestedAt+`":"`+request+`"}}}`)
				f.eventually("the step was tried again", func(context.Context) (bool, error) {
					if f.read(node) == nil {
						return false, errors.New("the node was released")
					}
					run := f.record(node)
					return run.RetryRequestedAt == request && run.State == api.Failed, nil
				})
			}
			if run := f.record(node); run.DeadlinePassed || f.late(node) > 0 || !api.HasFinalizer(f.read(node)) {
				t.Errorf("the deadline has passed: %+v", run)
			}
		})
	}
}

// By its own clock, the agent has watched the Node for longer than the deadline.
func TestDeadlinePassesWithASlowServerClock(t *testing.T) {
	f := setUp(t, "deadline: {after: 2s, action: Release}\nretry: {maxRetries: 0}\nsteps:\n- {name: fails, plugin: probe}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
	options := f.options()
	answersAt(options.REST, -2*time.Hour)
	f.start(options)
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	if run := f.record(node); run.BypassReason != "deadline of 2s exceeded (deadline.action: Release)" {
		t.Errorf("the record says %+v", run)
	}
}

// The time of the deletion is the API server's time too.
func TestRecordUsesTheServerTime(t *testing.T) {
	f := setUp(t, logOnly)
	options := f.options()
	answersAt(options.REST, 2*time.Hour)
	f.start(options)
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	if run := f.record(node); run.FinishedAt.Sub(run.DeletionRequestedAt.Time) < time.Hour {
		t.Errorf("the record says %+v", run)
	}
}

// The leader's clock is 25 minutes ahead of the API server. Budgets must be respected for 20
// minutes.
func TestFastClockDoesNotOverrideBudgets(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain, options: {allowUnmanaged: true, forceAfter: 20m}}]\n")
	options := f.options()
	answersAt(options.REST, -25*time.Minute)
	node := f.protected("worker")
	pod := f.blockedPods(node, 1)[0]
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.start(options)
	f.delete(node)
	f.eventually("the budget has kept the pod from being evicted", func(context.Context) (bool, error) {
		refused := 0
		for _, request := range f.audited(mark) {
			if request.Resource == "pods" && request.Verb == "delete" {
				t.Fatalf("the pod was deleted over its budget: %s %d", request.URI, request.Code)
			}
			if request.Subresource == "eviction" && request.Code == http.StatusTooManyRequests {
				refused++
			}
		}
		return refused > 0, nil
	})
	if current, err := f.client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{}); err != nil || current.DeletionTimestamp != nil {
		t.Errorf("the pod is %+v, %v", current, err)
	}
}

// blockedPods puts running pods on a node, which a budget keeps there until the test ends.
func (f *fixture) blockedPods(node *corev1.Node, n int) []*corev1.Pod {
	f.Helper()
	ctx := context.WithoutCancel(f.Context())
	// Not in the agent's namespace, which admits only restricted Pods. No controller computes the
	// status of this budget, so it allows no disruption.
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "blocks"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"blocked": "yes"}}},
	}
	if _, err := f.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Create(ctx, budget, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(f.openBudget)
	var pods []*corev1.Pod
	for i := range n {
		pod := cluster.MakePod(metav1.NamespaceDefault, "cart-"+string(rune('a'+i)), node.Name)
		pod.Labels["blocked"] = "yes"
		pod, err := f.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			f.Fatal(err)
		}
		// A budget protects only running Pods.
		pod.Status.Phase = corev1.PodRunning
		if pod, err = f.client.CoreV1().Pods(metav1.NamespaceDefault).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			f.Fatal(err)
		}
		pods = append(pods, pod)
		f.Cleanup(func() { f.removePod(pod) })
	}
	return pods
}

// openBudget deletes the budget of blockedPods.
func (f *fixture) openBudget() {
	f.Helper()
	err := f.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Delete(context.WithoutCancel(f.Context()), "blocks", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

// removePod takes a pod away, as a kubelet does that has ended it.
func (f *fixture) removePod(pod *corev1.Pod) {
	f.Helper()
	ctx := context.WithoutCancel(f.Context())
	if err := f.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}
