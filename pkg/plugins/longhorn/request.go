package longhorn

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	nodecleanup "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// annotation on the Longhorn node keeps what the step has changed, so that it can be undone after a restart, too.
const annotation = "nodecleanup.io/longhorn-before"

// before is the value of the annotation.
type before struct {
	// NodeUID is the UID of the Kubernetes Node that is cleaned up.
	NodeUID           types.UID `json:"nodeUID"`
	AllowScheduling   bool      `json:"allowScheduling"`
	EvictionRequested bool      `json:"evictionRequested"`
}

// beforeOf returns what the annotation says, and whether it is there.
func beforeOf(found *node) (before, bool) {
	var state before
	text, set := found.Metadata.Annotations[annotation]
	if !set || json.Unmarshal([]byte(text), &state) != nil {
		return before{}, false
	}
	return state, true
}

// evicting reports whether Longhorn is asked to move everything away from the node.
func (n *node) evicting() bool { return n.Spec.EvictionRequested && !n.Spec.AllowScheduling }

// evict asks Longhorn to move everything away from the node, unless it is asked already. The patch sets both fields:
// Longhorn's webhook rejects an eviction while scheduling is on.
func (p *plugin) evict(ctx context.Context, target cleanup.Target, found *node) error {
	state, known := beforeOf(found)
	if known && state.NodeUID == target.Node.UID && found.evicting() {
		return nil
	}
	if !known || !found.evicting() {
		state = before{AllowScheduling: found.Spec.AllowScheduling, EvictionRequested: found.Spec.EvictionRequested}
	} // Otherwise, an earlier Node of the same name has left its request, and what was before it.
	state.NodeUID = target.Node.UID
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return p.api.patch(ctx, found.Metadata.Name, change(found, false, true, string(text)))
}

// Withdraw implements cleanup.Withdrawer: it restores what the step has changed, unless another client has changed
// it since.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	found, err := p.api.node(ctx, target.Node.Name)
	if nodecleanup.Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	state, known := beforeOf(found)
	if !known || state.NodeUID != target.Node.UID {
		return nil
	}
	if !found.evicting() {
		state.AllowScheduling, state.EvictionRequested = found.Spec.AllowScheduling, found.Spec.EvictionRequested
	}
	if err := p.api.patch(ctx, found.Metadata.Name, change(found, state.AllowScheduling, state.EvictionRequested, nil)); err != nil {
		return fmt.Errorf("withdrawing the eviction: %w", err)
	}
	return nil
}

// change is a patch of the node. The API server rejects it for another node of the same name.
func change(found *node, allowScheduling, evictionRequested bool, state any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"uid": found.Metadata.UID, "annotations": map[string]any{annotation: state}},
		"spec":     map[string]any{"allowScheduling": allowScheduling, "evictionRequested": evictionRequested},
	}
}
