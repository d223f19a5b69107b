package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
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

// RunOf returns the run record of a node, or nil if there is none that can be read. It is
// for messages that can do without it.
func RunOf(ctx context.Context, client kubernetes.Interface, namespace string, node *corev1.Node) *api.Run {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		return nil
	}
	run, err := api.ReadRunOf(configMap, node.UID)
	if err != nil {
		return nil
	}
	return run
}
