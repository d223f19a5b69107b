// Package inspect reads how an install and its cleanups are, and judges it. It
// only reads, and needs no agent to answer.
package inspect

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// Seen is what was read of the cluster. What does not exist is nil.
type Seen struct {
	Namespace  string
	Deployment *appsv1.Deployment
	Lease      *coordinationv1.Lease
	Status     *api.AgentStatus
	Webhook    *admissionv1.MutatingWebhookConfiguration
	Policy     *admissionv1.MutatingAdmissionPolicy
	Guard      *admissionv1.ValidatingWebhookConfiguration
	// GuardHidden: the caller may not see whether there is a guard.
	GuardHidden bool

	Total, Protected int
	// Leaving are the nodes that are being deleted, or cleaned up alive. Of a
	// large cluster nothing else is kept.
	Leaving []*corev1.Node
	Runs    map[types.UID]*api.Run
	// Unreadable are the errors of run records that cannot be decoded.
	Unreadable map[types.UID]error
}

// Read reads the install, the nodes and the run records of those that are leaving.
func Read(ctx context.Context, client kubernetes.Interface, namespace string) (*Seen, error) {
	s, err := ReadAgent(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	if err := s.readNodes(ctx, client); err != nil {
		return nil, err
	}
	return s, s.ReadRuns(ctx, client)
}

// ReadAgent reads the install alone: neither nodes nor run records.
func ReadAgent(ctx context.Context, client kubernetes.Interface, namespace string) (*Seen, error) {
	s := &Seen{Namespace: namespace, Runs: map[types.UID]*api.Run{}, Unreadable: map[types.UID]error{}}
	var err error
	if s.Deployment, err = optional(client.AppsV1().Deployments(namespace).Get(ctx, api.Agent, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading deployment %s/%s: %w", namespace, api.Agent, err)
	}
	if s.Lease, err = optional(client.CoordinationV1().Leases(namespace).Get(ctx, api.Agent, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading lease %s/%s: %w", namespace, api.Agent, err)
	}
	if s.Webhook, err = optional(client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading mutatingwebhookconfiguration %s: %w", api.WebhookName, err)
	}
	s.Policy, err = optional(client.AdmissionregistrationV1().MutatingAdmissionPolicies().Get(ctx, api.WebhookName, metav1.GetOptions{}))
	switch {
	case apierrors.IsForbidden(err):
		s.Policy = nil // Roles from before there was one; the webhook is judged alone.
	case err != nil:
		return nil, fmt.Errorf("reading mutatingadmissionpolicy %s: %w", api.WebhookName, err)
	}
	s.Guard, err = optional(client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{}))
	switch {
	case apierrors.IsForbidden(err):
		s.Guard, s.GuardHidden = nil, true // Roles from before there was one.
	case err != nil:
		return nil, fmt.Errorf("reading validatingwebhookconfiguration %s: %w", api.WebhookName, err)
	}
	if s.Status, err = command.AgentStatus(ctx, client, namespace); err != nil {
		return nil, err
	}
	return s, nil
}

// optional turns "not found" into nil.
func optional[T any](object *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

func (s *Seen) readNodes(ctx context.Context, client kubernetes.Interface) error {
	return install.EachNode(ctx, client.CoreV1(), func(node *corev1.Node) error {
		s.Total++
		if api.HasFinalizer(node) {
			s.Protected++
		}
		if IsLeaving(node) {
			s.Leaving = append(s.Leaving, Essence(node))
		}
		return nil
	})
}

// Essence returns what is shown of a node, without its images, labels and the
// like: there may be many.
func Essence(node *corev1.Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name, UID: node.UID, CreationTimestamp: node.CreationTimestamp,
			DeletionTimestamp: node.DeletionTimestamp, Finalizers: node.Finalizers,
		},
		Spec:   corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
		Status: corev1.NodeStatus{Conditions: node.Status.Conditions},
	}
}

// IsLeaving reports whether a node is being deleted, or cleaned up alive.
func IsLeaving(node *corev1.Node) bool {
	if node.DeletionTimestamp != nil {
		return true
	}
	condition := api.Cleanup(node)
	return condition != nil && !api.State(condition.Reason).Released() && condition.Reason != string(api.Canceled)
}

// ReadRuns reads the records of s.Leaving; those of the past
// are passed over undecoded.
func (s *Seen) ReadRuns(ctx context.Context, client kubernetes.Interface) error {
	s.Runs, s.Unreadable = map[types.UID]*api.Run{}, map[types.UID]error{}
	if len(s.Leaving) == 0 {
		return nil
	}
	wanted := map[string]bool{}
	for _, node := range s.Leaving {
		wanted[string(node.UID)] = true
	}
	return EachRecord(ctx, client, s.Namespace, func(configMap *corev1.ConfigMap) {
		if wanted[configMap.Labels[api.LabelNodeUID]] {
			s.addRun(configMap)
		}
	})
}

func (s *Seen) addRun(configMap *corev1.ConfigMap) {
	uid := types.UID(configMap.Labels[api.LabelNodeUID])
	delete(s.Unreadable, uid)
	run, err := api.DecodeRun(configMap)
	if err != nil {
		s.Unreadable[uid] = err
		return
	}
	s.Runs[uid] = run
}

// Take takes nodes and run records that were read by other means, such as a watch.
func (s *Seen) Take(nodes map[string]*corev1.Node, records map[string]*corev1.ConfigMap) {
	s.Total, s.Protected, s.Leaving = len(nodes), 0, nil
	s.Runs, s.Unreadable = map[types.UID]*api.Run{}, map[types.UID]error{}
	for _, node := range nodes {
		if api.HasFinalizer(node) {
			s.Protected++
		}
		if !IsLeaving(node) {
			continue
		}
		s.Leaving = append(s.Leaving, node)
		if record := records[api.RunName(node.Name, node.UID)]; record != nil {
			s.addRun(record)
		}
	}
}

// EachRecord calls visit with the ConfigMap of every run record, page by page.
func EachRecord(ctx context.Context, client kubernetes.Interface, namespace string, visit func(*corev1.ConfigMap)) error {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().ConfigMaps(namespace).List(ctx, options)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: RecordSelector}, func(object runtime.Object) error {
		if configMap, is := object.(*corev1.ConfigMap); is {
			visit(configMap)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the run records in namespace %s: %w", namespace, err)
	}
	return nil
}

// RecordSelector selects the run records among the ConfigMaps of a namespace.
const RecordSelector = api.LabelRun + "=true"
