package status

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

// seen is what was read of the cluster. What does not exist is nil.
type seen struct {
	namespace  string
	deployment *appsv1.Deployment
	lease      *coordinationv1.Lease
	status     *api.AgentStatus
	webhook    *admissionv1.MutatingWebhookConfiguration

	total, protected int
	// leaving are the nodes that are being deleted, or cleaned up alive. Of a
	// large cluster nothing else is kept.
	leaving []*corev1.Node
	runs    map[types.UID]*api.Run
	// unreadable are the errors of run records that cannot be decoded.
	unreadable map[types.UID]error
}

func read(ctx context.Context, client kubernetes.Interface, namespace string) (*seen, error) {
	s := &seen{namespace: namespace, runs: map[types.UID]*api.Run{}, unreadable: map[types.UID]error{}}
	var err error
	if s.deployment, err = optional(client.AppsV1().Deployments(namespace).Get(ctx, api.Agent, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading deployment %s/%s: %w", namespace, api.Agent, err)
	}
	if s.lease, err = optional(client.CoordinationV1().Leases(namespace).Get(ctx, api.Agent, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading lease %s/%s: %w", namespace, api.Agent, err)
	}
	if s.webhook, err = optional(client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})); err != nil {
		return nil, fmt.Errorf("reading mutatingwebhookconfiguration %s: %w", api.WebhookName, err)
	}
	if s.status, err = command.AgentStatus(ctx, client, namespace); err != nil {
		return nil, err
	}
	if err := s.readNodes(ctx, client); err != nil {
		return nil, err
	}
	if len(s.leaving) == 0 {
		return s, nil
	}
	return s, s.readRuns(ctx, client)
}

// optional turns "not found" into nil.
func optional[T any](object *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

func (s *seen) readNodes(ctx context.Context, client kubernetes.Interface) error {
	return install.EachNode(ctx, client.CoreV1(), func(node *corev1.Node) error {
		s.total++
		if api.HasFinalizer(node) {
			s.protected++
		}
		if isLeaving(node) {
			// Without its images, labels and the like: there may be many.
			s.leaving = append(s.leaving, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{
					Name: node.Name, UID: node.UID, DeletionTimestamp: node.DeletionTimestamp, Finalizers: node.Finalizers,
				},
				Status: corev1.NodeStatus{Conditions: node.Status.Conditions},
			})
		}
		return nil
	})
}

func isLeaving(node *corev1.Node) bool {
	if node.DeletionTimestamp != nil {
		return true
	}
	condition := api.Cleanup(node)
	return condition != nil && !api.State(condition.Reason).Released()
}

// readRuns reads the records of the nodes that are leaving; those of the past
// are passed over undecoded.
func (s *seen) readRuns(ctx context.Context, client kubernetes.Interface) error {
	wanted := map[string]bool{}
	for _, node := range s.leaving {
		wanted[string(node.UID)] = true
	}
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().ConfigMaps(s.namespace).List(ctx, options)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: api.LabelRun + "=true"}, func(object runtime.Object) error {
		configMap, is := object.(*corev1.ConfigMap)
		if !is || !wanted[configMap.Labels[api.LabelNodeUID]] {
			return nil
		}
		uid := types.UID(configMap.Labels[api.LabelNodeUID])
		run, err := api.DecodeRun(configMap)
		if err != nil {
			s.unreadable[uid] = err
			return nil
		}
		s.runs[run.NodeUID] = run
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the run records in namespace %s: %w", s.namespace, err)
	}
	return nil
}
