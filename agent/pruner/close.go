package pruner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// NodeRemoved is the message of a record whose Node was deleted by another client, which
// removed our finalizer, before the cleanup was done.
const NodeRemoved = "the node was removed by another client before its cleanup was done"

// close records the end of a run whose Node was deleted while no agent watched it, or at once
// when its finalizer was removed. A record that was restored from a backup is closed, too. It
// does nothing if the Node exists.
func (p *Pruner) close(ctx context.Context, configMap *corev1.ConfigMap, run *api.Run) error {
	node, err := p.Nodes.Get(ctx, run.Node, metav1.GetOptions{})
	switch {
	case err == nil && node.UID == run.NodeUID:
		return nil // It was created after the list that we know.
	case err != nil && !api.Absent(err):
		return fmt.Errorf("reading node %s: %w", run.Node, err)
	}
	now := metav1.NewTime(p.Clock.Now())
	run.State, run.Message, run.FinishedAt = api.Failed, NodeRemoved, &now
	closed, err := api.EncodeRun(configMap.Namespace, run)
	if err != nil {
		return err
	}
	configMap.Data = closed.Data
	_, err = p.ConfigMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err), api.Absent(err):
		return nil // Another client has changed or deleted it: the next time shows how it is.
	case err != nil:
		return fmt.Errorf("closing run record %s: %w", configMap.Name, err)
	}
	p.Log.Warn("node was removed by another client before its cleanup was done", "node", run.Node, "uid", run.NodeUID)
	p.NodeRemoved(run)
	return nil
}
