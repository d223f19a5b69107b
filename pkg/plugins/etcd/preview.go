package etcd

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// The effects of the plugin, and the cause of a blocked one.
const (
	remove          cleanup.Action = "Remove"
	moveLeadership  cleanup.Action = "MoveLeadership"
	blockedByQuorum                = "Quorum"
	kindMember                     = "EtcdMember"
	reportedBy                     = "etcd"
)

// Preview implements cleanup.Previewer. The CLI does not call etcd: only the agent shows what etcd reports.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	object := cleanup.Object{Kind: kindMember, Name: p.MemberName.Preview(target)}
	effects := []cleanup.Effect{{Action: remove, Object: object, Reason: "if etcd has a member of this name with an address of the node"}}
	if httpclient.IsOffline(p.client) {
		return effects, nil
	}
	v, err := p.view(ctx, target)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case cleanup.IsPermanent(err):
		return append(effects, cleanup.Effect{
			Action: remove, Object: object, ReportedBy: reportedBy, Blocked: &cleanup.Blocker{Cause: "Ambiguous", Message: err.Error()},
		}), nil
	case err != nil: // The step is known all the same, and so is the hash of its plan.
		return append(effects, cleanup.Effect{Action: cleanup.Unknown, Reason: "preview failed: " + err.Error(), ReportedBy: reportedBy}), nil
	case v.own == nil:
		return append(effects, cleanup.Effect{Action: cleanup.Skip, Reason: v.absent, ReportedBy: reportedBy}), nil
	}
	p.examine(ctx, v)
	effect := cleanup.Effect{Action: remove, Object: object, Reason: fmt.Sprintf("%d members remain", len(v.members)-1), ReportedBy: reportedBy}
	if err := v.unsafe(); err != nil {
		effect.Blocked = &cleanup.Blocker{Cause: blockedByQuorum, Message: err.Error(), Remedy: "repair the members that are not healthy"}
	}
	if successor := v.successor(); v.leads() && successor != nil {
		effects = append(effects, cleanup.Effect{Action: moveLeadership, Object: cleanup.Object{Kind: kindMember, Name: successor.Name}, Reason: "the member of the node is the leader", ReportedBy: reportedBy})
	}
	return append(effects, effect), nil
}
