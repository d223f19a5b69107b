package longhorn

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// The effects of the plugin, in addition to those of package cleanup.
const (
	disable cleanup.Action = "Disable"
	move    cleanup.Action = "Move"
)

// The causes of a blocked effect.
const (
	blockedByHost   = "NodeNotReady"
	blockedByVolume = "VolumeNotMovable"
)

// Preview implements cleanup.Previewer. It names the data that has no healthy copy elsewhere.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	found, err := p.find(ctx, target.Node.Name)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return []cleanup.Effect{{Action: cleanup.Skip, Reason: "Longhorn has no node " + target.Node.Name}}, nil
	}
	held, err := p.hold(ctx, found)
	if err != nil {
		return nil, err
	}
	if err := p.count(ctx, held); err != nil {
		return nil, err
	}
	effects := []cleanup.Effect{{
		Action: disable, Object: cleanup.Object{Kind: "nodes.longhorn.io", Namespace: p.Namespace, Name: found.Metadata.Name}, UID: found.Metadata.UID,
		Reason: "Longhorn places no more replicas there, and is asked to move " + held.String() + " to other nodes",
	}}
	for _, one := range held.items {
		effect, err := p.effect(ctx, found, one)
		if err != nil {
			return nil, err
		}
		effects = append(effects, effect)
	}
	return effects, nil
}

// effect describes what happens to one item. The volume is only read if the data has no copy elsewhere.
func (p *plugin) effect(ctx context.Context, of *node, one item) (cleanup.Effect, error) {
	effect := cleanup.Effect{
		Action: move, Object: cleanup.Object{Kind: objectKind[one.kind], Namespace: p.Namespace, Name: one.name}, UID: one.uid,
		Reason: one.text(nil) + ", healthy on " + otherNodes(one.elsewhere),
	}
	switch {
	case one.kind == ofShard:
		effect.Reason = "a part of a volume with erasure coding"
	case one.unused:
		effect.Reason = one.text(nil) + ", which has no data yet"
	}
	if p.mayStay(one) && !of.ready() {
		effect.Action = cleanup.Skip
		effect.Reason += "; it may stay, because the host is down"
		return effect, nil
	}
	problem := ""
	if one.volume != "" && one.elsewhere == 0 && !one.unused {
		volumes, err := p.api.volumes(ctx, []string{one.volume})
		if err != nil {
			return effect, err
		}
		effect.Reason = "no node has a healthy copy, " + one.text(volumes[one.volume])
		if one.healthy {
			effect.Reason = "the last healthy copy, " + one.text(volumes[one.volume])
		}
		problem = trouble(volumes[one.volume])
	}
	switch {
	case !of.ready():
		effect.Blocked = &cleanup.Blocker{Cause: blockedByHost, Message: effect.Reason + ". " + unready(of), Remedy: p.repair()}
	case problem != "" && !p.mayStay(one):
		effect.Blocked = &cleanup.Blocker{Cause: blockedByVolume, Message: effect.Reason + ", " + problem,
			Remedy: "add a node or disk with room for the volume, or repair, restore or delete the volume"}
	case one.volume != "" && !one.room && !p.mayStay(one):
		effect.Unchecked = effect.Reason + "; every other node that takes replicas has one of this volume, so Longhorn can move it only if replica soft anti-affinity is enabled"
	}
	return effect, nil
}

// objectKind are the kinds of Longhorn's objects.
var objectKind = map[kind]string{ofReplica: "Replica", ofBackingImage: "BackingImage", ofShard: "Shard"}
