package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Deletions reads from the ledger who deleted a Node. It keeps what it read last: when many
// Nodes are deleted at once, one read serves most of them.
type Deletions struct {
	client    kubernetes.Interface
	namespace string
	clock     clock.PassiveClock

	mutex sync.Mutex
	data  map[string]string
	// readAt is when the last read began, by the clock of the API servers.
	readAt time.Time
}

// NewDeletions returns a reader of the ledger in the namespace of the agent.
func NewDeletions(client kubernetes.Interface, namespace string, clock clock.PassiveClock) *Deletions {
	return &Deletions{client: client, namespace: namespace, clock: clock}
}

// settled is the time after a deletion after which a read of the ledger has its record, with
// room for the second to which a deletion timestamp is rounded. The guard writes the record before
// the API server executes the deletion.
const settled = 2 * time.Second

// Of returns who deleted a terminating Node. Found is false if the guard was not asked about
// the deletion, or the record was removed. Nothing depends on it but what people read.
func (d *Deletions) Of(ctx context.Context, node metav1.Object) (deletion api.Deletion, found bool, err error) {
	value, found, err := d.value(ctx, node)
	if !found || err != nil {
		return api.Deletion{}, false, err
	}
	if err := json.Unmarshal([]byte(value), &deletion); err != nil {
		return api.Deletion{}, false, fmt.Errorf("decoding who deleted node %s: %w", node.GetName(), err)
	}
	return deletion, deletion.Explains(node), nil
}

// value returns the Node's record. It reads the ledger, unless the last read has the record or
// would have it.
func (d *Deletions) value(ctx context.Context, node metav1.Object) (value string, found bool, err error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if value, found = d.data[string(node.GetUID())]; found || d.readAt.After(node.GetDeletionTimestamp().Add(settled)) {
		return value, found, nil
	}
	began := d.clock.Now()
	configMap, err := d.client.CoreV1().ConfigMaps(d.namespace).Get(ctx, api.GuardName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		configMap = &corev1.ConfigMap{}
	case err != nil:
		return "", false, fmt.Errorf("reading configmap %s/%s: %w", d.namespace, api.GuardName, err)
	}
	d.data, d.readAt = configMap.Data, began
	value, found = d.data[string(node.GetUID())]
	return value, found, nil
}
