package awsautoscaling

import (
	"context"
	"fmt"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// The causes of a blocked effect of this plugin.
const (
	blockedByState = "LifecycleState"
	blockedByHook  = "NoSuchHook"
)

// Preview implements cleanup.Previewer. Only the agent asks AWS; the CLI names the instance.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return nil, fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID)
	}
	effect := p.effect(instance)
	if p.api == nil {
		return []cleanup.Effect{effect}, nil
	}
	reported, err := p.report(ctx, instance)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	return []cleanup.Effect{effect, reported}, nil
}

// effect is what the step does if the instance is in a group.
func (p *plugin) effect(instance ec2node.Instance) cleanup.Effect {
	effect := cleanup.Effect{Object: cleanup.Object{Kind: "Instance", Name: instance.ID}}
	switch {
	case p.Action == actionComplete:
		effect.Action, effect.Reason = "Complete", "lifecycle hook "+p.Hook+" of its Auto Scaling group"
		return effect
	case p.Action == actionDetach:
		effect.Action = "Detach"
	default:
		effect.Action = "Terminate"
	}
	effect.Reason = "its Auto Scaling group launches a replacement"
	if *p.Decrement {
		effect.Reason = "the desired capacity of its Auto Scaling group becomes smaller by one"
	}
	return effect
}

// report returns what the step would do now, by what AWS reports.
func (p *plugin) report(ctx context.Context, instance ec2node.Instance) (cleanup.Effect, error) {
	found, err := p.membership(ctx, instance)
	if err != nil {
		return cleanup.Effect{}, err
	}
	effect := p.effect(instance)
	effect.ReportedBy = "AWS"
	move, why := decide(p.Action, found.State, false)
	switch move {
	case finish, leave:
		return cleanup.Effect{Action: cleanup.Skip, Reason: why, ReportedBy: "AWS"}, nil
	case refuse:
		effect.Blocked = &cleanup.Blocker{Cause: blockedByState, Message: why}
		return effect, nil
	}
	effect.Reason = fmt.Sprintf("now %s in group %s", found.State, found.Group)
	if p.Action != actionComplete {
		return effect, nil
	}
	hooks, err := p.api.TerminationHooks(ctx, instance.Region, found.Group)
	if err != nil {
		return cleanup.Effect{}, fmt.Errorf("listing the lifecycle hooks of group %s: %w", found.Group, err)
	}
	if !slices.Contains(hooks, p.Hook) {
		effect.Blocked = &cleanup.Blocker{
			Cause: blockedByHook, Message: fmt.Sprintf("group %s has no termination lifecycle hook %q, only %q", found.Group, p.Hook, hooks),
			Remedy: "correct the option hook",
		}
	}
	return effect, nil
}

// CheckHealth implements cleanup.HealthChecker: the agent may read the Auto Scaling group of some Node. It changes nothing.
// EC2 Auto Scaling has no DryRun, so this does not prove the right to change a group.
func (p *plugin) CheckHealth(ctx context.Context) error {
	some, err := ec2node.Some(ctx, p.nodes)
	if err != nil || len(some) == 0 {
		return err
	}
	instance, _ := ec2node.Of(&some[0])
	if _, err := p.membership(ctx, instance); err != nil {
		return fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	return nil
}
