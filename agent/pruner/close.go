package pruner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// NodeAbsent is the message of an unfinished record whose Node does not exist. The record does not
// show why.
const NodeAbsent = "the node no longer exists, and its run record is unfinished: the node was removed before its cleanup was done, or the record was restored from a backup"

// NodeRemoved is the message of a record whose Node was removed while an agent watched it: another client
// removed our finalizer before the cleanup was done.
const NodeRemoved = "the node was removed by another client before its cleanup was done"

// closeRecord closes the unfinished record of a Node that no longer exists: the Node was removed while no
// agent watched it, or the record was restored from a backup. If the Node exists, it does nothing.
func (p *Pruner) closeRecord(ctx context.Context, configMap *corev1.ConfigMap, run *api.Run) error {
	node, err := p.Nodes.Get(ctx, run.Node, metav1.GetOptions{})
	switch {
	case err == nil && node.UID == run.NodeUID:
		return nil // The Node was created after the cached list.
	case err != nil && !api.Absent(err):
		return fmt.Errorf("reading node %s: %w", run.Node, err)
	}
	now := metav1.NewTime(p.Clock.Now())
	run.State, run.Message, run.FinishedAt = api.Failed, NodeAbsent, &now
	closed, err := api.EncodeRun(configMap.Namespace, run)
	if err != nil {
		return err
	}
	configMap.Data = closed.Data
	_, err = p.ConfigMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err), api.Absent(err):
		return nil // Another client has changed or deleted the record. The next prune evaluates it again.
	case err != nil:
		return fmt.Errorf("closing run record %s: %w", configMap.Name, err)
	}
	p.Log.Warn("closed the unfinished run record of a node that no longer exists", "node", run.Node, "uid", run.NodeUID)
	p.NodeRemoved(run)
	return nil
}
