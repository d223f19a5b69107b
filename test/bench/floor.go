package main

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// floorFinalizer is on the Nodes of a floor, so that the agent ignores them.
const floorFinalizer = "bench.nodecleanup.io/floor"

// floor is a minimal client that deletes Nodes and releases each immediately, one request after the
// other. It has the client settings, the concurrency and the identity of the agent, because the requests
// of an administrator skip RBAC and API Priority and Fairness.
type floor struct {
	name    string
	release func(context.Context, nodeID) error
	rounds  []*deletions
}

// The names of the floors, in the table and in the errors.
const (
	bareFloor   = "floor"
	recordFloor = "floor with records"
	eventFloor  = "floor with records and Event"
)

// newFloors returns the floors, from the least work to the most.
func (b *bench) newFloors() []*floor {
	return []*floor{
		// The requests of a client that only removes the finalizer.
		{name: bareFloor, release: b.removeFinalizer},
		// The writes that a client needs to resume after a crash: a run record at the start and at
		// the end. kubectl describe node shows no cleanup of this client.
		{name: recordFloor, release: func(ctx context.Context, node nodeID) error {
			if err := b.keepRecord(ctx, node, nil); err != nil {
				return err
			}
			return b.removeFinalizer(ctx, node)
		}},
		// The agent's further requests: it reads the Node before the release, because its host may
		// have rebooted, and writes an Event. The agent's rate is compared with this floor.
		{name: eventFloor, release: func(ctx context.Context, node nodeID) error {
			live, err := b.asAgent.CoreV1().Nodes().Get(ctx, node.name, metav1.GetOptions{ResourceVersion: "0"})
			if err != nil {
				return err
			}
			if err := b.keepRecord(ctx, node, api.HostOf(live)); err != nil {
				return err
			}
			if err := b.removeFinalizer(ctx, node); err != nil {
				return err
			}
			return b.writeEvent(ctx, node)
		}},
	}
}

// keepRecord creates the run record of a Node, as the agent does when a run starts, and
// updates it, as the agent does when it ends.
func (b *bench) keepRecord(ctx context.Context, node nodeID, host *api.Host) error {
	configMaps := b.asAgent.CoreV1().ConfigMaps(api.Namespace)
	run := &api.Run{
		Node: node.name, NodeUID: node.uid, ConfigHash: "0123456789ab", PlanHash: "012345", State: api.Running, Host: host, StartedAt: metav1.Now(),
		Steps: []api.StepRun{{Name: "nothing", Plugin: "logger", Critical: true, State: api.StepRunning, Attempts: 1}},
	}
	record, err := api.EncodeRun(api.Namespace, run)
	if err != nil {
		return err
	}
	created, err := configMaps.Create(ctx, record, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	run.State, run.Steps[0].State = api.Succeeded, api.StepSucceeded
	if record, err = api.EncodeRun(api.Namespace, run); err != nil {
		return err
	}
	created.Data = record.Data
	_, err = configMaps.Update(ctx, created, metav1.UpdateOptions{})
	return err
}

// removeFinalizer removes the floor's finalizer from the Node with that UID and no other.
func (b *bench) removeFinalizer(ctx context.Context, node nodeID) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": node.uid, "$deleteFromPrimitiveList/finalizers": []string{floorFinalizer},
	}})
	if err != nil {
		return err
	}
	_, err = b.asAgent.CoreV1().Nodes().Patch(ctx, node.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (b *bench) writeEvent(ctx context.Context, node nodeID) error {
	_, err := b.asAgent.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: node.name},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.name, UID: node.uid},
		Type:           corev1.EventTypeNormal, Reason: "CleanupCompleted", Message: "Cleanup done, the node is released. Steps: nothing succeeded",
	}, metav1.CreateOptions{})
	return err
}

// floorRound deletes Nodes with a floor, which releases each immediately.
func (b *bench) floorRound(ctx context.Context, f *floor, index int) error {
	nodes, err := b.create(ctx, fmt.Sprintf("floor-%d-%d", index, b.round), floorFinalizer)
	if err != nil {
		return err
	}
	spent := b.spend(f.name)
	measured, err := b.deleteAndWait(ctx, nodes, func(ctx context.Context, d *deletions) error {
		return b.each(ctx, nodes, func(ctx context.Context, node nodeID) error {
			if err := d.delete(ctx, b.client, node.name); err != nil {
				return err
			}
			return f.release(ctx, node)
		})
	})
	spent()
	f.rounds = append(f.rounds, measured)
	if err != nil {
		return err
	}
	// The agent would read them when it prunes.
	return b.client.CoreV1().ConfigMaps(api.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: labels.Set{api.LabelRun: "true"}.String()})
}
