package awsec2instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// The causes of a blocked effect of this plugin.
const (
	blockedByCheck = "WrongInstance"
	blockedByAWS   = "RefusedByAWS"
)

// Preview implements cleanup.Previewer. Only the agent asks AWS; the CLI names the instance.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return nil, fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID)
	}
	terminate := cleanup.Effect{Action: "Terminate", Object: cleanup.Object{Kind: "Instance", Name: instance.ID}, Reason: "EC2 instance in " + instance.Region}
	if p.api == nil {
		return []cleanup.Effect{terminate}, nil
	}
	reported, err := p.report(ctx, target, instance)
	if err != nil {
		return nil, err
	}
	reported.ReportedBy = "AWS"
	return []cleanup.Effect{terminate, reported}, nil
}

// report returns what AWS says about the termination of the instance. AWS checks a request with DryRun, and changes
// nothing.
func (p *plugin) report(ctx context.Context, target cleanup.Target, instance ec2node.Instance) (cleanup.Effect, error) {
	effect := cleanup.Effect{Action: "Terminate", Object: cleanup.Object{Kind: "Instance", Name: instance.ID}}
	found, err := p.api.Describe(ctx, instance)
	switch {
	case errors.Is(err, ErrNotFound):
		return cleanup.Effect{Action: cleanup.Skip, Reason: fmt.Sprintf("instance %s does not exist", instance.ID)}, nil
	case err != nil:
		return cleanup.Effect{}, fmt.Errorf("describing instance %s: %w", instance.ID, err)
	case found.State == StateTerminated, found.State == StateShuttingDown:
		return cleanup.Effect{Action: cleanup.Skip, Reason: fmt.Sprintf("instance %s is %s", instance.ID, found.State)}, nil
	}
	effect.Reason = "now " + found.State
	if refusal := p.refusal(target.Node, instance, found); refusal != nil {
		effect.Blocked = &cleanup.Blocker{Cause: blockedByCheck, Message: refusal.Error()}
		return effect, nil
	}
	err = p.api.Terminate(ctx, instance, true)
	switch {
	case errors.Is(err, ErrNotFound):
		return cleanup.Effect{Action: cleanup.Skip, Reason: fmt.Sprintf("instance %s does not exist", instance.ID)}, nil
	case errors.Is(err, ErrProtected):
		effect.Blocked = &cleanup.Blocker{Cause: blockedByAWS, Message: err.Error(), Remedy: unprotect}
	case cleanup.IsPermanent(err):
		effect.Blocked = &cleanup.Blocker{Cause: blockedByAWS, Message: err.Error()}
	case err != nil:
		return cleanup.Effect{}, fmt.Errorf("asking whether instance %s can be terminated: %w", instance.ID, err)
	}
	return effect, nil
}

// CheckHealth implements cleanup.HealthChecker: AWS would let the agent terminate the instance of some Node, which it says
// for a request with DryRun. Nodes whose instance the step would refuse prove nothing. If EC2 knows no instance of a Node,
// the agent has the credentials of another account: the step would find each instance terminated.
func (p *plugin) CheckHealth(ctx context.Context) error {
	some, err := ec2node.Some(ctx, p.nodes)
	if err != nil {
		return err
	}
	known := len(some) == 0
	for _, node := range some {
		instance, _ := ec2node.Of(&node)
		found, err := p.api.Describe(ctx, instance)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("describing instance %s: %w", instance.ID, err)
		}
		known = true
		if found.State == StateTerminated || p.refusal(&node, instance, found) != nil {
			continue
		}
		err = p.api.Terminate(ctx, instance, true)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err == nil, errors.Is(err, ErrProtected):
			return nil
		}
		return fmt.Errorf("asking with DryRun whether instance %s could be terminated: %w", instance.ID, err)
	}
	if !known {
		return fmt.Errorf("EC2 knows none of the instances of %d nodes. Next: give the agent a role in the AWS account of these instances", len(some))
	}
	return nil
}
