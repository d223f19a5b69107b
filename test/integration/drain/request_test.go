package drain_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// withResponder adds an eviction responder to a Pod.
func withResponder(pod *corev1.Pod) {
	pod.Spec.EvictionResponders = []corev1.EvictionResponder{{Name: "db.example.com/operator", Priority: ptr.To[int32](10000)}}
}

// evictions are the uses of the eviction subresource.
func evictions(event cluster.AuditEvent) bool {
	return event.Subresource == "eviction" && writes(event)
}

// awaitRequest waits for the EvictionRequest of a Pod.
func (f *fixture) awaitRequest(pod *corev1.Pod) *lifecyclev1alpha1.EvictionRequest {
	f.Helper()
	var request *lifecyclev1alpha1.EvictionRequest
	f.eventually("the eviction of pod "+pod.Name+" is requested", func(ctx context.Context) (bool, error) {
		list, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			if list.Items[i].Spec.Target.Pod.UID == pod.UID {
				request = &list.Items[i]
			}
		}
		return request != nil, nil
	})
	return request
}

// observe sets the status, as the controller of EvictionRequests does. Kubernetes 1.37 serves the
// API without that controller.
func (f *fixture) observe(request *lifecyclev1alpha1.EvictionRequest, conditions ...metav1.Condition) {
	f.Helper()
	request.Status = lifecyclev1alpha1.EvictionRequestStatus{ObservedGeneration: ptr.To(request.Generation), Conditions: conditions}
	if _, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).UpdateStatus(f.Context(), request, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// start begins to drain the node.
func (f *fixture) start(plugin cleanup.Plugin) (ended chan error) {
	ctx, cancel := context.WithTimeout(f.Context(), testTimeout)
	f.Cleanup(cancel)
	ended = make(chan error, 1)
	target := f.target()
	go func() { ended <- plugin.Cleanup(ctx, target) }()
	return ended
}

func TestResponderEvictsThePod(t *testing.T) {
	f := setUp(t)
	pod := f.pod("db-0", f.node, withResponder)
	f.pod("web-0", f.node)
	ended := f.start(f.plugin(`{}`))
	request := f.awaitRequest(pod)
	if request.Spec.Requester != "nodecleanup.io/drain" || request.Spec.Intent != lifecyclev1alpha1.EvictionRequestIntentEviction || request.Spec.Target.Pod.Name != "db-0" {
		t.Errorf("the request is %+v", request.Spec)
	}
	f.observe(request)
	f.eventually("the drain waits for the responder", func(context.Context) (bool, error) {
		return f.said("1 pod remaining: " + f.namespace + "/db-0 (eviction requested from db.example.com/operator)"), nil
	})
	// The responder moves the database, and deletes the Pod.
	if err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if evicted := f.requests(evictions); len(evicted) != 1 || !strings.Contains(evicted[0].URI, "web-0") {
		t.Errorf("evicted by the subresource: %+v", evicted)
	}
	f.eventually("the request is deleted with its pod", func(ctx context.Context) (bool, error) {
		list, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
}

func TestFailedEvictionRequest(t *testing.T) {
	failed := metav1.Condition{
		Type: string(lifecyclev1alpha1.EvictionConditionFailed), Status: metav1.ConditionTrue,
		Reason: string(lifecyclev1alpha1.EvictionConditionReasonNoFurtherResponder), Message: "no responder is left", LastTransitionTime: metav1.Now(),
	}
	for name, test := range map[string]struct {
		options string
		// answer simulates the handling of the request.
		answer func(*fixture, *clocktesting.FakeClock, *lifecyclev1alpha1.EvictionRequest)
		// fails is in the error; without one the drain evicts the Pod itself.
		fails string
	}{
		"no controller observes it": {
			options: `{}`,
			answer: func(_ *fixture, clock *clocktesting.FakeClock, _ *lifecyclev1alpha1.EvictionRequest) {
				clock.Step(time.Minute)
			},
		},
		"no controller observes it, and nothing else is allowed": {
			options: `{"api": "evictionRequest"}`, fails: "no controller has observed its EvictionRequest",
			answer: func(_ *fixture, clock *clocktesting.FakeClock, _ *lifecyclev1alpha1.EvictionRequest) {
				clock.Step(time.Minute)
			},
		},
		"it fails": {
			options: `{}`,
			answer: func(f *fixture, _ *clocktesting.FakeClock, request *lifecyclev1alpha1.EvictionRequest) {
				f.observe(request, failed)
			},
		},
		"it fails, and nothing else is allowed": {
			options: `{"api": "evictionRequest"}`, fails: "its EvictionRequest failed: no responder is left (NoFurtherResponder)",
			answer: func(f *fixture, _ *clocktesting.FakeClock, request *lifecyclev1alpha1.EvictionRequest) {
				f.observe(request, failed)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			pod := f.pod("db-0", f.node, withResponder)
			clock := clocktesting.NewFakeClock(time.Now())
			plugin, faults := drain.Descriptor(kubernetes.NewForConfigOrDie(shared.RESTConfigFor(f.user, "system:masters")), clock, nil).Bind([]byte(test.options))
			if faults != nil {
				t.Fatal(faults)
			}
			ended := f.start(plugin)
			request := f.awaitRequest(pod)
			f.eventually("the drain waits", func(context.Context) (bool, error) { return clock.HasWaiters(), nil })
			test.answer(f, clock, request)
			err := <-ended
			if test.fails == "" {
				if evicted := f.requests(evictions); err != nil || len(evicted) != 1 {
					t.Errorf("error %v, evicted by the subresource: %+v", err, evicted)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.fails) || len(f.requests(evictions)) > 0 {
				t.Errorf("error %v, evicted by the subresource: %+v", err, f.requests(evictions))
			}
			if _, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).Get(t.Context(), request.Name, metav1.GetOptions{}); err == nil {
				t.Error("the request is still there, so a retry would find it failed again")
			}
		})
	}
}

func TestRequestsAreWithdrawn(t *testing.T) {
	f := setUp(t)
	other := f.createNode(f.node.Name + "-other")
	pod := f.pod("db-0", f.node, withResponder)
	plugin := f.plugin(`{}`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	target := f.target()
	go func() { ended <- plugin.Cleanup(ctx, target) }()
	request := f.awaitRequest(pod)
	f.observe(request)
	cancel()
	<-ended
	withdraw := func(node *corev1.Node) []string {
		target.Node = node
		if err := plugin.(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		list, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, each := range list.Items {
			names = append(names, each.Name)
		}
		return names
	}
	if left := withdraw(other); !slices.Equal(left, []string{request.Name}) {
		t.Errorf("after the withdrawal of another node's: %q", left)
	}
	for range 2 {
		if left := withdraw(f.node); len(left) > 0 {
			t.Errorf("after the withdrawal: %q", left)
		}
	}
}

// The Pods of a Node that was bypassed are still there when it is created again at once.
func TestRequestOfAReplacedNodeIsIgnored(t *testing.T) {
	f := setUp(t)
	pod := f.pod("db-0", f.node, withResponder)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		plugin, target := f.plugin(`{}`), f.target()
		go func() { ended <- plugin.Cleanup(ctx, target) }()
		f.eventually("the eviction is requested for this node", func(ctx context.Context) (bool, error) {
			list, err := f.client.LifecycleV1alpha1().EvictionRequests(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "nodecleanup.io/node-uid=" + string(f.node.UID)})
			return err == nil && len(list.Items) == 1 && list.Items[0].Spec.Target.Pod.UID == pod.UID, err
		})
		cancel()
		<-ended
		if err := f.client.CoreV1().Nodes().Delete(t.Context(), f.node.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.node = f.createNode(f.node.Name)
	}
}

func TestPreviewNamesTheResponders(t *testing.T) {
	f := setUp(t)
	f.pod("db-0", f.node, withResponder)
	effects, err := f.plugin(`{}`).(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(effects, func(e cleanup.Effect) bool { return e.Reason == "eviction requested from db.example.com/operator" }) {
		t.Errorf("effects are %+v", effects)
	}
	if sent := f.requests(writes); len(sent) > 0 {
		t.Errorf("the preview wrote %+v", sent)
	}
}
