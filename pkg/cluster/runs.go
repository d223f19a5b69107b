package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// RunSelector selects the run records among the ConfigMaps of a namespace.
const RunSelector = api.LabelRun + "=true"

// EachRun calls visit with the ConfigMap of every run record, page by page.
func EachRun(ctx context.Context, client kubernetes.Interface, namespace string, visit func(*corev1.ConfigMap)) error {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().ConfigMaps(namespace).List(ctx, options)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: RunSelector}, func(object runtime.Object) error {
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

// RunOf returns the run record of a node to show it, or nil if there is none.
func RunOf(ctx context.Context, client kubernetes.Interface, namespace string, node *corev1.Node) (*api.Run, error) {
	name := api.RunName(node.Name, node.UID)
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading run record %s/%s: %w", namespace, name, err)
	}
	return api.ReadRunOf(configMap, node.UID)
}

// NewestRun returns the newest run record of the deleted nodes of that name to show it, or nil if there is none, and the errors of
// the records that cannot be decoded.
func NewestRun(ctx context.Context, client kubernetes.Interface, namespace, node string) (newest *api.Run, undecodable []error, err error) {
	err = EachRun(ctx, client, namespace, func(configMap *corev1.ConfigMap) {
		run, err := api.ReadRun(configMap)
		if err != nil && api.RunNode(configMap) == node {
			undecodable = append(undecodable, err)
		}
		if err == nil && run.Node == node && (newest == nil || run.StartedAt.After(newest.StartedAt.Time)) {
			newest = run
		}
	})
	return newest, undecodable, err
}
