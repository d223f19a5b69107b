package bypass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// releaser releases terminating Nodes that the caller has marked, because no agent is the leader.
//
// The mark decides which client releases a Node and writes its record. Every client marks the Node
// before it writes the record, and the finalizer is removed only from the version of the Node that
// was read with the caller's mark. So only the client with the last mark can release the Node, and
// no other client overwrites its record.
type releaser struct {
	client    kubernetes.Interface
	namespace string
	now       func() time.Time
	lease     *cluster.LeaseReader
	// verified: the API server accepts no mark in the name of another user.
	verified bool
}

// Reasons why this command does not release the Node.
var (
	errReleased  = errors.New("another user or an agent has released the node")
	errLeads     = errors.New("an agent is the leader now and releases the node")
	errOvertaken = errors.New("the bypass was changed or removed in the meantime")
)

// maxConflicts is the number of conflicting writes to the Node or its record that one release
// tolerates.
const maxConflicts = 10

// release records the bypass of a marked Node, publishes it, and removes the finalizer.
func (r *releaser) release(ctx context.Context, node *corev1.Node) error {
	published := false
	for range maxConflicts {
		leadership, err := r.lease.Read(ctx)
		if err != nil {
			return fmt.Errorf("releasing node %s: %w; the node was not released", node.Name, err)
		}
		if leadership.HasLeader {
			return errLeads
		}
		record, err := r.record(ctx, node)
		if err == nil && !published {
			if err = r.publish(ctx, node, record.run); err != nil {
				return r.unreleased(ctx, node, record, fmt.Errorf("writing the Event: %w", err))
			}
			published = true
		}
		if err == nil {
			err = r.removeFinalizer(ctx, node)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errOvertaken), errors.Is(err, errReleased):
			return err
		case api.Absent(err) && record != nil:
			return errReleased
		case !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err):
			return r.unreleased(ctx, node, record, err)
		}
		if node, err = r.again(ctx, node); err != nil {
			if errors.Is(err, errOvertaken) {
				return errors.Join(err, r.undo(ctx, record))
			}
			return err
		}
	}
	return fmt.Errorf("releasing node %s: other clients keep changing the node or its run record; run the command again", node.Name)
}

// again reads a Node that another client has changed. It returns an error if this command must not
// release it any more.
func (r *releaser) again(ctx context.Context, marked *corev1.Node) (*corev1.Node, error) {
	node, err := r.client.CoreV1().Nodes().Get(ctx, marked.Name, metav1.GetOptions{})
	switch {
	case api.Absent(err), err == nil && (node.UID != marked.UID || !api.HasFinalizer(node)):
		return nil, errReleased
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", marked.Name, err)
	case !sameMark(node, marked):
		return nil, errOvertaken
	}
	return node, nil
}

// sameMark reports whether both have the same bypass.
func sameMark(a, b *corev1.Node) bool {
	return !slices.ContainsFunc(api.BypassAnnotations(), func(key string) bool { return a.Annotations[key] != b.Annotations[key] })
}

// publish writes the Event.
func (r *releaser) publish(ctx context.Context, node *corev1.Node, run *api.Run) error {
	event, now := nodeevent.CleanupBypassedWithoutAgent(run, command.Undone(run)), metav1.NewTime(r.now())
	_, err := r.client.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: node.Name + ".", Namespace: metav1.NamespaceDefault},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		Type:           event.Type, Reason: event.Reason, Message: event.Message,
		Source: corev1.EventSource{Component: api.FieldManager}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{FieldManager: api.FieldManager})
	return err
}

// removal is the patch that removes our finalizer and no other one.
func removal(node *corev1.Node, resourceVersion string) map[string]any {
	metadata := map[string]any{"uid": node.UID, "$deleteFromPrimitiveList/finalizers": []string{api.Finalizer}}
	if resourceVersion != "" {
		metadata["resourceVersion"] = resourceVersion
	}
	return map[string]any{"metadata": metadata}
}

// removeFinalizer removes our finalizer from this version of the Node.
func (r *releaser) removeFinalizer(ctx context.Context, node *corev1.Node) error {
	patch, err := json.Marshal(removal(node, node.ResourceVersion))
	if err != nil {
		return err
	}
	if _, err = r.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager}); err != nil {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	return nil
}

// unreleased reports that a Node was not released, and how to release it without a record.
func (r *releaser) unreleased(ctx context.Context, node *corev1.Node, record *written, cause error) error {
	what := "the node was not released"
	if api.Refused(cause) {
		cause = errors.Join(cause, r.undo(ctx, record))
	} else if record != nil {
		what = "it is not known whether the node was released: run it again"
	}
	patch, err := json.Marshal(removal(node, ""))
	if err != nil {
		return errors.Join(cause, err)
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("releasing node %s without an agent: %w; %s", node.Name, cause, what),
		Next: fmt.Sprintf("Fix what the message names, or ask a user with the missing right to run the same command. To release the node without a run record: kubectl patch node %s -p '%s'", node.Name, patch),
	}
}
