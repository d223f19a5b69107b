package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

const (
	// patchesAtOnce bounds the load on the API server and its webhooks.
	patchesAtOnce = 16
	// maxRounds of looking again for nodes that got the finalizer in the meantime. A node
	// that joins between removing admission and the agent's end needs a second
	// one; more means that another client adds it back.
	maxRounds = 5
	// maxTries limits the attempts for a node if the API server is unavailable, in addition to the
	// retries of the client: 3 s in all.
	maxTries   = 3
	firstPause = time.Second

	domain = "nodecleanup.io/"
)

// NodesLeftError names the nodes that could not be cleaned of our finalizer.
type NodesLeftError struct {
	// Nodes maps each node to the error of the API server.
	Nodes map[string]error
	// Again: it did not refuse, it had no answer, and everything that comes after the
	// nodes is still there.
	Again bool
}

// namedNodes is how many nodes an error names; the others are like them.
const namedNodes = 20

// Error names the nodes, one a line, no more than the first few of very many.
func (e *NodesLeftError) Error() string {
	var lines []string
	for name, err := range e.Nodes {
		lines = append(lines, fmt.Sprintf("node %s: %v", name, err))
	}
	slices.Sort(lines)
	if more := len(lines) - namedNodes; more > 0 {
		lines = append(lines[:namedNodes], fmt.Sprintf("and %d more", more))
	}
	what := "refused"
	if e.Again {
		what = "did not respond for"
	}
	return fmt.Sprintf("removing the finalizer, annotations and condition from every node: the API server %s %s:\n  %s", what, api.Count(len(e.Nodes), "node"), strings.Join(lines, "\n  "))
}

// ErrAddedBack: another client adds the finalizer faster than it is removed.
var ErrAddedBack = errors.New("the finalizer is added again after each removal: an agent is still running")

// releaseNodes removes the finalizer, our annotations and our condition from every node, and
// repeats until no node has them. It skips nodes whose update the API server rejects, and names
// them in a NodesLeftError. If the API server stays unavailable for a node after several attempts,
// it ends with that error.
func (r *Remover) releaseNodes(ctx context.Context) error {
	refused := &NodesLeftError{Nodes: map[string]error{}}
	var failed map[string]error
	released := 0
	for again := range maxRounds {
		switch {
		case len(failed) > 0 && again == maxTries:
			return &NodesLeftError{Nodes: failed, Again: true}
		case len(failed) > 0:
			r.say("retrying nodes for which the API server did not respond: %d", len(failed))
			if err := pause(ctx, firstPause<<(again-1)); err != nil {
				return err
			}
		}
		var marked int
		var err error
		if marked, failed, err = r.releaseRound(ctx, refused); err != nil {
			return err
		}
		if marked == 0 {
			if clean := released - len(refused.Nodes); clean > 0 {
				r.say("nodes without finalizer, annotations and condition now: %d", clean)
			}
			if len(refused.Nodes) > 0 {
				return refused
			}
			return nil
		}
		released += marked - len(failed)
	}
	return fmt.Errorf("removing the finalizer from every node: %w", ErrAddedBack)
}

// releaseRound returns the number of marked nodes, and the retriable errors by node. It adds all
// other errors to refused.
func (r *Remover) releaseRound(ctx context.Context, refused *NodesLeftError) (marked int, failed map[string]error, err error) {
	var lock sync.Mutex
	var group errgroup.Group
	group.SetLimit(patchesAtOnce)
	failed = map[string]error{}
	listing := cluster.EachNode(ctx, r.Nodes.CoreV1(), func(node *corev1.Node) error {
		lock.Lock()
		_, passed := refused.Nodes[node.Name]
		lock.Unlock()
		if passed || !isMarked(node) {
			return nil
		}
		marked++
		group.Go(func() error {
			err := release(ctx, r.Nodes.CoreV1(), node)
			lock.Lock()
			defer lock.Unlock()
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return err
			case api.Refused(err):
				refused.Nodes[node.Name] = err
			default:
				failed[node.Name] = err
			}
			return nil
		})
		return nil
	})
	if err := group.Wait(); err != nil {
		return marked, failed, err
	}
	return marked, failed, listing
}

// isMarked reports whether the node has our finalizer, an annotation or the condition.
func isMarked(node *corev1.Node) bool {
	return api.HasFinalizer(node) || api.CleanupConditionOf(node) != nil || len(ourAnnotations(node)) > 0
}

func ourAnnotations(node *corev1.Node) []string {
	var names []string
	for name := range node.Annotations {
		if strings.HasPrefix(name, domain) {
			names = append(names, name)
		}
	}
	return names
}

// release removes all our fields from one node. The patches carry its UID, so that a recreated
// node of the same name is not changed. The next round finds that node.
func release(ctx context.Context, nodes corev1client.NodesGetter, node *corev1.Node) error {
	condition, err := conditionPatch(node)
	if err != nil {
		return err
	}
	metadata, err := metadataPatch(node)
	if err != nil {
		return err
	}
	// The condition first: without the finalizer the node may be deleted.
	if condition != nil {
		if err := patch(ctx, nodes, node, condition, "status"); err != nil {
			return fmt.Errorf("removing the condition from node %s: %w", node.Name, err)
		}
	}
	if metadata != nil {
		if err := patch(ctx, nodes, node, metadata); err != nil {
			return fmt.Errorf("removing the finalizer from node %s: %w", node.Name, err)
		}
	}
	return nil
}

func metadataPatch(node *corev1.Node) ([]byte, error) {
	metadata := map[string]any{"uid": node.UID}
	if api.HasFinalizer(node) {
		metadata["$deleteFromPrimitiveList/finalizers"] = []string{api.Finalizer}
	}
	if names := ourAnnotations(node); len(names) > 0 {
		annotations := map[string]any{}
		for _, name := range names {
			annotations[name] = nil
		}
		metadata["annotations"] = annotations
	}
	if len(metadata) == 1 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"metadata": metadata})
}

func conditionPatch(node *corev1.Node) ([]byte, error) {
	var removed []map[string]any
	for _, condition := range api.OwnConditions(node) {
		removed = append(removed, map[string]any{"type": condition.Type, "$patch": "delete"})
	}
	if removed == nil {
		return nil, nil
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"status":   map[string]any{"conditions": removed},
	})
}

// patch sends a patch with the node's UID. A deleted or recreated node is not an error: nothing
// remains to be done.
func patch(ctx context.Context, nodes corev1client.NodesGetter, node *corev1.Node, data []byte, subresources ...string) error {
	_, err := nodes.Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{FieldManager: api.FieldManager}, subresources...)
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	if apierrors.IsInvalid(err) || apierrors.IsConflict(err) {
		live, readErr := nodes.Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(readErr) || readErr == nil && live.UID != node.UID {
			return nil
		}
	}
	return err
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
