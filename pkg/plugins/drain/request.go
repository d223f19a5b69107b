package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// evictionAPI is how the drain requests evictions.
type evictionAPI string

const (
	// auto uses an EvictionRequest for a Pod with eviction responders, and the eviction
	// subresource for all others. Without a responder, the controller of EvictionRequests would
	// only use the subresource, and later.
	auto evictionAPI = "auto"
	// subresource uses pods/eviction only.
	subresource evictionAPI = "eviction"
	// evictionRequest uses EvictionRequests for all Pods for which they exist.
	evictionRequest evictionAPI = "evictionRequest"
)

// requester is the name of the drain in EvictionRequests.
const requester = "nodecleanup.io/drain"

// labelNode is on each EvictionRequest of the drain. Its value is the UID of the Node.
const labelNode = "nodecleanup.io/node-uid"

// unobservedAfter is the time in which the controller of EvictionRequests must observe one.
// Kubernetes 1.37 serves the API without that controller (kubernetes/kubernetes#137133).
const unobservedAfter = 30 * time.Second

// requests are the EvictionRequests of one drain.
type requests struct {
	// store holds the EvictionRequests of the Node's Pods. It is nil until the first Pod needs
	// one.
	store cache.Store
	// unusable: the API server does not accept EvictionRequests, and option api is auto.
	unusable bool
	// direct are the Pods whose EvictionRequest failed, and that the drain evicts itself.
	direct map[types.UID]bool
}

// byRequest reports whether the drain creates an EvictionRequest for the Pod.
func (o options) byRequest(pod *corev1.Pod) bool {
	switch {
	case pod.Spec.SchedulingGroup != nil: // Such a Pod cannot be the target of one (k8s.io/api/lifecycle/v1alpha1).
		return false
	case o.API == evictionRequest:
		return true
	}
	return o.API == auto && len(pod.Spec.EvictionResponders) > 0
}

// requestAll creates the EvictionRequests that the Pods need, and returns the Pods that the drain
// evicts itself.
func (d *drain) requestAll(ctx context.Context, pods []*corev1.Pod) (others []*corev1.Pod, failed error) {
	forceAt, forces := d.forceAt()
	if forces && !d.clock.Now().Before(forceAt) {
		return pods, nil
	}
	for _, pod := range pods {
		if !d.byRequest(pod) || d.requests.direct[pod.UID] || pod.DeletionTimestamp != nil {
			others = append(others, pod)
			continue
		}
		used, err := d.request(ctx, pod)
		if !used {
			others = append(others, pod)
			continue
		}
		var blocked blockedError
		if !errors.As(err, &blocked) {
			failed = inOneLine(failed, fmt.Errorf("evicting pod %s: %w", nameOf(pod), err))
			continue
		}
		d.evictions[pod.UID] = &evictionState{delay: firstDelay, blocked: blocked.reason}
		d.requeueAt(d.clock.Now().Add(blocked.after))
		if forces {
			d.requeueAt(forceAt)
		}
	}
	return others, failed
}

// request creates the EvictionRequest of a Pod, or checks the existing one. While the drain has to
// wait, the error is a blockedError that names the cause. used is false if the drain has to evict
// the Pod itself.
func (d *drain) request(ctx context.Context, pod *corev1.Pod) (used bool, err error) {
	if d.requests.unusable {
		return false, nil
	}
	if d.requests.store == nil {
		if err := d.followRequests(ctx); err != nil {
			return d.cannotRequest(pod, err)
		}
	}
	if current := d.requestFor(pod); current != nil {
		return d.assess(ctx, pod, current)
	}
	release, err := d.limiter.acquire(ctx, pod.Spec.NodeName)
	if err != nil {
		return true, err
	}
	err = d.createRequest(ctx, pod, d.target.Node.UID)
	release()
	switch {
	case err == nil:
		d.target.Log.Info("eviction requested", "pod", nameOf(pod), "responders", responders(pod))
	case !apierrors.IsAlreadyExists(err): // The watch is about to deliver one that exists.
		return d.cannotRequest(pod, err)
	}
	return true, awaiting(pod)
}

// followRequests begins to watch the EvictionRequests of the Node.
func (d *drain) followRequests(ctx context.Context) error {
	client, ours := d.client.LifecycleV1alpha1(), requestsOf(d.target.Node.UID)
	// An API that does not exist, or may not be used, is not an outage of the watch.
	if _, err := client.EvictionRequests(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: ours.String(), Limit: 1}); err != nil {
		return err
	}
	store, err := d.follow(selection{client: client.RESTClient(), resource: "evictionrequests", kind: &lifecyclev1alpha1.EvictionRequest{}, labels: ours})
	if err != nil {
		return err
	}
	d.requests.store, d.requests.direct = store, map[types.UID]bool{}
	return nil
}

// cannotRequest decides how to continue after the API server has rejected an EvictionRequest. A
// rejection that an eviction would get, too, has the same meaning here.
func (d *drain) cannotRequest(pod *corev1.Pod, err error) (used bool, _ error) {
	var blocked blockedError
	switch {
	case errors.As(classify(err), &blocked) && blocked.cause == api.BlockedByNamespace:
		return false, nil // The API server refuses the eviction, too, which waits for the namespace.
	case blocked.reason != "":
		return true, blockedError{blocked.cause, "creating its EvictionRequest: " + blocked.reason, max(blocked.after, lastDelay)}
	case d.API == evictionRequest && apierrors.IsNotFound(err):
		return true, errors.New("option api is evictionRequest, but the API server does not serve " + lifecyclev1alpha1.SchemeGroupVersion.String())
	case d.API == evictionRequest:
		return true, fmt.Errorf("creating its EvictionRequest: %w", err)
	}
	d.requests.unusable = true
	d.target.Log.Warn("EvictionRequests cannot be used, so the eviction responders of Pods are ignored", "pod", nameOf(pod), "err", err)
	return false, nil
}

// assess checks the state of the Pod's EvictionRequest.
func (d *drain) assess(ctx context.Context, pod *corev1.Pod, current *lifecyclev1alpha1.EvictionRequest) (used bool, err error) {
	failure := ""
	switch failed := meta.FindStatusCondition(current.Status.Conditions, string(lifecyclev1alpha1.EvictionConditionFailed)); {
	case failed != nil && failed.Status == metav1.ConditionTrue:
		failure = fmt.Sprintf("its EvictionRequest failed: %s (%s)", failed.Message, failed.Reason)
	case current.Status.ObservedGeneration == nil && d.clock.Now().Sub(current.CreationTimestamp.Time) > unobservedAfter:
		failure = fmt.Sprintf("no controller has observed its EvictionRequest %s within %s", current.Name, unobservedAfter)
	default:
		return true, awaiting(pod)
	}
	// Controllers ignore a failed request, so a new one has to replace it.
	if err := d.deleteRequest(ctx, current); err != nil {
		return true, blockedError{cause: api.BlockedByServer, reason: failure + "; withdrawing it: " + oneLine(err), after: lastDelay}
	}
	if d.API == evictionRequest {
		return true, errors.New(failure)
	}
	d.requests.direct[pod.UID] = true
	d.target.Log.Warn("the pod is evicted without its eviction responders", "pod", nameOf(pod), "reason", failure)
	return false, nil
}

// awaiting returns the error of a Pod that waits for its EvictionRequest.
func awaiting(pod *corev1.Pod) blockedError {
	return blockedError{reason: "eviction requested" + fromResponders(pod), after: unobservedAfter}
}

// fromResponders returns " from " and the Pod's eviction responders, empty if it has none.
func fromResponders(pod *corev1.Pod) string {
	names := responders(pod)
	if len(names) == 0 {
		return ""
	}
	return " from " + strings.Join(names, ", ")
}

// responders returns the names of the Pod's eviction responders, the first one to act first.
func responders(pod *corev1.Pod) []string {
	sorted := slices.SortedStableFunc(slices.Values(pod.Spec.EvictionResponders), func(a, b corev1.EvictionResponder) int {
		return cmp.Compare(*b.Priority, *a.Priority)
	})
	var names []string
	for _, responder := range sorted {
		names = append(names, responder.Name)
	}
	return names
}

func (d *drain) requestFor(pod *corev1.Pod) *lifecyclev1alpha1.EvictionRequest {
	for _, object := range d.requests.store.List() {
		request := object.(*lifecyclev1alpha1.EvictionRequest)
		if target := request.Spec.Target.Pod; target != nil && target.UID == pod.UID && request.Spec.Requester == requester && request.Spec.Intent == lifecyclev1alpha1.EvictionRequestIntentEviction {
			return request
		}
	}
	return nil
}

// createRequest creates the EvictionRequest of a Pod. The Pod owns it, so that the garbage collector
// deletes it with the Pod. A Pod may have one from an earlier Node of the same
// name, which this drain does not see.
func (p *plugin) createRequest(ctx context.Context, pod *corev1.Pod, node types.UID) error {
	_, err := p.client.LifecycleV1alpha1().EvictionRequests(pod.Namespace).Create(ctx, &lifecyclev1alpha1.EvictionRequest{
		ObjectMeta: metav1.ObjectMeta{
			Name:            fmt.Sprintf("nodecleanup-%s-%s", pod.UID, node),
			Labels:          map[string]string{api.LabelName: api.LabelNameValue, labelNode: string(node)},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: lifecyclev1alpha1.EvictionRequestSpec{
			Target:    lifecyclev1alpha1.EvictionRequestTarget{Pod: &lifecyclev1alpha1.EvictionRequestPodReference{Name: pod.Name, UID: pod.UID}},
			Requester: requester,
			Intent:    lifecyclev1alpha1.EvictionRequestIntentEviction,
		},
	}, metav1.CreateOptions{})
	return err
}

func (p *plugin) deleteRequest(ctx context.Context, request *lifecyclev1alpha1.EvictionRequest) error {
	err := p.client.LifecycleV1alpha1().EvictionRequests(request.Namespace).Delete(ctx, request.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &request.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Withdraw implements cleanup.Withdrawer: it deletes the EvictionRequests of the Node, which
// withdraws them, so that responders stop.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	if p.API == subresource {
		return nil
	}
	list, err := p.client.LifecycleV1alpha1().EvictionRequests(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: requestsOf(target.Node.UID).String()})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // Without the API, or the right to use it, no request exists.
	}
	if err != nil {
		return fmt.Errorf("listing the EvictionRequests of node %s: %w", target.Node.Name, err)
	}
	var failed []error
	for i := range list.Items {
		if err := p.deleteRequest(ctx, &list.Items[i]); err != nil {
			failed = append(failed, fmt.Errorf("withdrawing EvictionRequest %s/%s: %w", list.Items[i].Namespace, list.Items[i].Name, err))
		}
	}
	return errors.Join(failed...)
}

func requestsOf(node types.UID) labels.Selector {
	return labels.SelectorFromSet(labels.Set{labelNode: string(node)})
}
