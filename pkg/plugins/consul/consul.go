package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

type plugin struct {
	options
	api   *httpclient.API
	clock clock.WithTicker
}

// pollPeriod is the time between two requests for the state of the agent.
const pollPeriod = 10 * time.Second

// Cleanup implements cleanup.Plugin. While the Consul agent runs, it would register its node again, so the plugin waits
// for its end. It reads the node again each time, and immediately before each change.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	for {
		name, found, err := p.find(ctx, target)
		if err != nil || found == nil {
			return err
		}
		state, err := p.agent(ctx, name)
		if err != nil {
			return err
		}
		if state != agentRuns {
			return p.remove(ctx, target, name, state)
		}
		progress := fmt.Sprintf("waiting for the Consul agent of %s to stop: its check serfHealth passes", name)
		target.Progress(progress)
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// remove removes a node whose agent does not run. Force-leave comes first: without it, the leader of Consul puts a failed
// member back into the catalog.
func (p *plugin) remove(ctx context.Context, target cleanup.Target, name string, state agentState) error {
	if p.ForceLeave && state == agentFailed {
		if err := p.forceLeave(ctx, name); err != nil {
			return err
		}
		_, found, err := p.find(ctx, target)
		if err != nil || found == nil {
			return err
		}
	}
	return p.deregister(ctx, name)
}

// find returns the name in Consul, and the entry in the catalog if it belongs to the Node. Another machine can have the
// name by now.
func (p *plugin) find(ctx context.Context, target cleanup.Target) (name string, found *entry, err error) {
	name, err = p.Node.Expand(target, nil)
	if err != nil {
		return "", nil, err
	}
	if name == "" || name == "." || name == ".." {
		return "", nil, cleanup.Permanent(fmt.Errorf("the option node, %s, results in the name %q", p.Node, name))
	}
	found, err = p.look(ctx, name)
	switch {
	case err != nil:
		return "", nil, err
	case found == nil:
		target.Log.Info("the node is not in the catalog of Consul", "node", name)
		return name, nil, nil
	case !found.isOf(target.Node):
		target.Log.Info("the node in Consul belongs to another machine and remains: it has no address of this node", "node", name, "address", found.Address)
		return name, nil, nil
	}
	return name, found, nil
}

// Verify implements cleanup.Verifier: nothing has registered the node again.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	_, found, err := p.find(ctx, target)
	if err != nil || found == nil {
		return "", err
	}
	return "the catalog of Consul has node " + found.String(), nil
}

// CheckHealth implements cleanup.HealthChecker: the Consul cluster has a leader, and accepts the token. It does not prove
// that the token may remove nodes, because only a removal shows that.
func (p *plugin) CheckHealth(ctx context.Context) error {
	var leader string
	if err := p.api.Call(ctx, http.MethodGet, "v1/status/leader", nil, &leader); err != nil {
		return err
	}
	if leader == "" {
		return errors.New("the Consul cluster has no leader")
	}
	_, err := p.look(ctx, "nodecleanup-health-check")
	return err
}

// Preview implements cleanup.Previewer. Only the agent asks Consul.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	const action, kind = cleanup.Action("Deregister"), "ConsulNode"
	effects := []cleanup.Effect{{Action: action, Object: cleanup.Object{Kind: kind, Name: p.Node.Preview(target)}, Reason: "from the catalog, after its Consul agent has stopped"}}
	if p.api.Client == nil || httpclient.IsOffline(p.api.Client) {
		return effects, nil
	}
	name, found, err := p.find(ctx, target)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return append(effects, cleanup.Effect{Action: cleanup.Skip, Object: cleanup.Object{Kind: kind, Name: name}, Reason: "the catalog has no node of that name with an address of this node", ReportedBy: "Consul"}), nil
	}
	state, err := p.agent(ctx, name)
	if err != nil {
		return nil, err
	}
	reported := cleanup.Effect{Action: action, Object: cleanup.Object{Kind: kind, Name: found.String()}, Reason: "it has no Consul agent", ReportedBy: "Consul"}
	switch {
	case state == agentRuns:
		reported.Action, reported.Reason = cleanup.Wait, "its Consul agent runs"
	case state == agentFailed && p.ForceLeave:
		reported.Action, reported.Reason = "ForceLeave", "its Consul agent has failed"
	case state == agentFailed:
		reported.Reason = "its Consul agent has failed, and Consul may register it again (option forceLeave)"
	}
	return append(effects, reported), nil
}
