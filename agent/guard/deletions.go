package guard

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Deletions reads from the ledger who deleted a Node.
type Deletions struct {
	client    kubernetes.Interface
	namespace string
}

// NewDeletions returns a reader of the ledger in the namespace of the agent.
func NewDeletions(client kubernetes.Interface, namespace string) *Deletions {
	return &Deletions{client, namespace}
}

// Of returns who deleted a terminating Node. Found is false if the guard was not asked about
// the deletion, or the record was removed. The guard records a deletion before the API server
// executes it, so one read after the Node terminates is enough.
func (d *Deletions) Of(ctx context.Context, node metav1.Object) (deletion api.Deletion, found bool, err error) {
	configMap, err := d.client.CoreV1().ConfigMaps(d.namespace).Get(ctx, api.GuardName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return api.Deletion{}, false, nil
	}
	if err != nil {
		return api.Deletion{}, false, fmt.Errorf("reading configmap %s/%s: %w", d.namespace, api.GuardName, err)
	}
	value, found := configMap.Data[string(node.GetUID())]
	if !found {
		return api.Deletion{}, false, nil
	}
	if err := json.Unmarshal([]byte(value), &deletion); err != nil {
		return api.Deletion{}, false, fmt.Errorf("decoding who deleted node %s: %w", node.GetName(), err)
	}
	return deletion, deletion.Explains(node), nil
}
