package awstargetgroups

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

type plugin struct {
	options
	api   API
	nodes typedcorev1.NodeInterface
	clock clock.WithTicker
}

// pollPeriod is the time between two requests for the state of the targets.
const pollPeriod = 5 * time.Second

// drainedAt is the output with the time at which no target remained.
const drainedAt = "drainedAt"

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{drainedAt} }

// Applies implements cleanup.NodeFilter: the Node is an EC2 instance.
func (p *plugin) Applies(node *corev1.Node) (applies bool, reason string) {
	return ec2node.Applies(node)
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	if p.Exclude {
		if err := p.exclude(ctx, target.Node); err != nil {
			return err
		}
	}
	waited := false
	for {
		draining, err := p.deregister(ctx, target)
		if delay, throttled := cleanup.RetryDelay(err); throttled && waited { // Many Nodes exceed the limit together.
			if ended := sleep.For(ctx, p.clock, max(delay, pollPeriod)); ended != nil {
				return fmt.Errorf("%w: %w", ended, err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(draining) == 0 {
			break
		}
		waited = true
		progress := "draining " + join(draining)
		target.Progress(progress)
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
	return p.settle(ctx, target, waited)
}

// deregister deregisters all targets of the Node that are registered. It returns the targets that are not
// drained yet, with the names of their target groups.
func (p *plugin) deregister(ctx context.Context, target cleanup.Target) (draining []string, err error) {
	for _, group := range p.TargetGroups {
		targets, err := p.targets(ctx, group, target.Node)
		if errors.Is(err, ErrNotFound) {
			target.Log.Info("the target group does not exist, so the node is not in it", "targetGroup", group)
			continue
		}
		if err != nil {
			return nil, err
		}
		var registered []Target
		for _, one := range targets {
			draining = append(draining, nameOf(group, one))
			if one.State != StateDraining {
				registered = append(registered, one)
			}
		}
		if len(registered) == 0 {
			continue
		}
		if err := p.api.Deregister(ctx, group, registered); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("deregistering node %s from target group %s: %w", target.Node.Name, shortName(group), err)
		}
	}
	return draining, nil
}

// targets returns the targets of a target group that are the Node.
func (p *plugin) targets(ctx context.Context, group string, node *corev1.Node) ([]Target, error) {
	all, err := p.api.Targets(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("listing the targets of target group %s: %w", shortName(group), err)
	}
	is := map[string]bool{}
	if instance, found := ec2node.Of(node); found {
		is[instance.ID] = true
	}
	if p.ByAddress {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP || address.Type == corev1.NodeExternalIP {
				is[address.Address] = true
			}
		}
	}
	var own []Target
	for _, one := range all {
		if is[one.ID] {
			own = append(own, one)
		}
	}
	return own, nil
}

// settle waits for the option settle, until the load balancers send no more connections. It counts from the
// moment that an earlier attempt recorded, unless targets had to be drained since then.
func (p *plugin) settle(ctx context.Context, target cleanup.Target, waited bool) error {
	if p.Settle.Duration == 0 {
		return nil
	}
	since, err := time.Parse(time.RFC3339, target.Outputs[target.Step][drainedAt])
	if err != nil || waited {
		since = p.clock.Now()
		if err := target.Output(drainedAt, since.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	// A time in the future was recorded with another clock.
	remaining := min(p.Settle.Duration, p.Settle.Duration-p.clock.Since(since))
	if remaining <= 0 {
		return nil
	}
	progress := fmt.Sprintf("drained; waiting %s for the load balancers (option settle)", p.Settle.Duration)
	target.Progress(progress)
	if err := sleep.For(ctx, p.clock, remaining); err != nil {
		return fmt.Errorf("%s: %w", progress, err)
	}
	return nil
}

// Verify implements cleanup.Verifier: no controller has registered the Node again.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	var names []string
	for _, group := range p.TargetGroups {
		targets, err := p.targets(ctx, group, target.Node)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		for _, one := range targets {
			names = append(names, nameOf(group, one))
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return "registered or draining: " + join(names), nil
}

// Preview implements cleanup.Previewer. Only the agent asks AWS; the CLI names the target groups.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	var effects []cleanup.Effect
	if p.Exclude && !excluded(target.Node) {
		effects = append(effects, cleanup.Effect{
			Action: "Label", Object: cleanup.Object{Kind: cleanup.KindNode, Name: target.Node.Name}, Reason: corev1.LabelNodeExcludeBalancers,
		})
	}
	for _, group := range p.TargetGroups {
		effects = append(effects, cleanup.Effect{Action: "Deregister", Object: cleanup.Object{Kind: "TargetGroup", Name: group}})
		if p.api == nil {
			continue
		}
		targets, err := p.targets(ctx, group, target.Node)
		if errors.Is(err, ErrNotFound) {
			effects = append(effects, cleanup.Effect{Action: cleanup.Skip, Reason: fmt.Sprintf("target group %s does not exist", shortName(group)), ReportedBy: "AWS"})
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, one := range targets {
			effects = append(effects, cleanup.Effect{
				Action: "Deregister", Object: cleanup.Object{Kind: "Target", Name: nameOf(group, one)}, Reason: "now " + one.State, ReportedBy: "AWS",
			})
		}
	}
	return effects, nil
}

// CheckHealth implements cleanup.HealthChecker: the agent may list the targets, and each target group
// exists, so that a wrong ARN is noticed before a Node is released. It changes nothing.
func (p *plugin) CheckHealth(ctx context.Context) error {
	for _, group := range p.TargetGroups {
		if _, err := p.api.Targets(ctx, group); err != nil {
			return fmt.Errorf("listing the targets of target group %s: %w", shortName(group), err)
		}
	}
	return nil
}

// shortName returns NAME of arn:…:targetgroup/NAME/ID.
func shortName(arn string) string {
	_, path, _ := strings.Cut(arn, "targetgroup/")
	name, _, _ := strings.Cut(path, "/")
	return name
}

func nameOf(group string, target Target) string {
	if target.Port == 0 {
		return shortName(group) + "/" + target.ID
	}
	return fmt.Sprintf("%s/%s:%d", shortName(group), target.ID, target.Port)
}

// join names at most five things.
func join(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
