package drain

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// terminatingNamespace describes a namespace that is being deleted. The API server refuses evictions
// in it; the namespace controller deletes the Pods.
type terminatingNamespace struct {
	text   string
	readAt time.Time
}

// readNamespaces adds the blocker of a namespace to the reason of its Pods if their evictions were
// rejected because the namespace is terminating. It reads each namespace at most once in
// lastDelay.
func (d *drain) readNamespaces(ctx context.Context, pods []*corev1.Pod) {
	now := d.clock.Now()
	for _, pod := range pods {
		state := d.evictions[pod.UID]
		if state == nil || !state.namespace {
			continue
		}
		found, read := d.namespaces[pod.Namespace]
		if !read || now.Sub(found.readAt) >= lastDelay {
			text := "namespace " + pod.Namespace + " is terminating"
			if !read {
				d.target.Log.Info("not evicting pods: their namespace is terminating", "namespace", pod.Namespace)
			}
			// Without the right to read it, or if it is deleted, there is nothing to add.
			if namespace, err := d.client.CoreV1().Namespaces().Get(ctx, pod.Namespace, metav1.GetOptions{}); err == nil {
				text += blocking(namespace)
			}
			found = terminatingNamespace{text, now}
			d.namespaces[pod.Namespace] = found
		}
		state.blocked = found.text
	}
}

// blocking returns the blocker of a namespace's deletion, after a comma.
func blocking(namespace *corev1.Namespace) string {
	if message := api.NamespaceBlockerOf(namespace.Status.Conditions).Message; message != "" {
		return ", blocked: " + message
	}
	return ""
}
