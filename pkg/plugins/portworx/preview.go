package portworx

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// The effects of the plugin, in addition to those of package cleanup.
const (
	setLabel cleanup.Action = "Label"
	remove   cleanup.Action = "Remove"
)

// Preview implements cleanup.Previewer. Only the agent asks Portworx. It names the volumes whose last copy the node has.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	const kind = "PortworxNode"
	if p.sdk.offline() {
		return []cleanup.Effect{{
			Action: remove, Object: cleanup.Object{Kind: kind, Name: target.Node.Name}, Reason: "with pxctl cluster delete, after it is checked that no volume has its last copy there",
			Unchecked: "only the agent asks Portworx for the volumes of the node",
		}}, nil
	}
	nodes, found, err := p.find(ctx, target.Node)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return []cleanup.Effect{{Action: cleanup.Skip, Object: cleanup.Object{Kind: kind, Name: target.Node.Name}, Reason: "the Portworx cluster does not have the node", ReportedBy: "Portworx"}}, nil
	}
	observed, err := p.observe(ctx, target.Node, nodes, *found)
	if err != nil {
		return nil, err
	}
	var effects []cleanup.Effect
	label := func(label, value, reason string) {
		effects = append(effects, cleanup.Effect{Action: setLabel, Object: cleanup.Object{Kind: cleanup.KindNode, Name: target.Node.Name}, UID: target.Node.UID, Reason: label + "=" + value + ", " + reason})
	}
	if observed.hostReady && observed.kvdb {
		label(labelService, serviceStop, "until another node replaces the node in the KVDB; then "+labelService+"="+serviceStart)
	}
	if observed.hostReady && !off(observed.enabled) {
		label(labelEnabled, enabledRemove, "so that Portworx is removed from the host")
	}
	effect := cleanup.Effect{Action: remove, Object: cleanup.Object{Kind: kind, Name: found.ID}, Reason: "from the Portworx cluster, with pxctl cluster delete in a Job", ReportedBy: "Portworx"}
	if len(observed.last) > 0 {
		effect.Blocked = &cleanup.Blocker{
			Cause:   cleanup.BlockedByLastCopy,
			Message: "the node has the last copy of " + join(observed.last),
			Remedy:  "add copies on other nodes with pxctl volume ha-update, or delete the volumes",
		}
	}
	return append(effects, effect), nil
}
