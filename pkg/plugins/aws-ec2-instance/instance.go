package awsec2instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

// pollPeriod is the time between two requests for the state of the instance.
const pollPeriod = 5 * time.Second

// Applies implements cleanup.NodeFilter: the Node is an EC2 instance.
func (p *plugin) Applies(node *corev1.Node) (applies bool, reason string) {
	return ec2node.Applies(node)
}

// Rules implements cleanup.RuleRequirer: the step reads the Node, and the health check lists some.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}}}
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return cleanup.Permanent(fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID))
	}
	if err := ec2node.Same(ctx, p.nodes, target.Node); err != nil {
		return fmt.Errorf("terminating instance %s: %w", instance.ID, err)
	}
	requested := false
	for {
		state, err := p.step(ctx, target, instance, requested)
		if delay, throttled := cleanup.RetryDelay(err); throttled && requested { // Many Nodes exceed the limit together.
			if ended := sleep.For(ctx, p.clock, max(delay, pollPeriod)); ended != nil {
				return fmt.Errorf("%w: %w", ended, err)
			}
			continue
		}
		if err != nil || state == StateTerminated {
			return err
		}
		requested = true
		if !p.Wait {
			return nil
		}
		progress := fmt.Sprintf("waiting until instance %s is terminated, now %s", instance.ID, state)
		target.Progress(progress)
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// step requests the termination unless it is requested already, and returns the state of the instance. The state of an
// instance that does not exist is StateTerminated.
func (p *plugin) step(ctx context.Context, target cleanup.Target, instance ec2node.Instance, requested bool) (state string, err error) {
	found, err := p.api.Describe(ctx, instance)
	switch {
	case errors.Is(err, ErrNotFound):
		target.Log.Info("the instance does not exist, so it is terminated", "instance", instance.ID)
		return StateTerminated, nil
	case err != nil:
		return "", fmt.Errorf("describing instance %s: %w", instance.ID, err)
	case found.State == StateTerminated || found.State == StateShuttingDown || requested:
		return found.State, nil
	}
	if refusal := p.refusal(target.Node, instance, found); refusal != nil {
		return "", cleanup.Permanent(fmt.Errorf("instance %s is not terminated: %w", instance.ID, refusal))
	}
	err = p.api.Terminate(ctx, instance, false)
	switch {
	case errors.Is(err, ErrNotFound):
		return StateTerminated, nil
	case errors.Is(err, ErrProtected):
		return "", cleanup.Permanent(fmt.Errorf("terminating instance %s: %w. Next: %s, then retry", instance.ID, err, unprotect))
	case err != nil:
		return "", fmt.Errorf("terminating instance %s: %w", instance.ID, err)
	}
	return StateShuttingDown, nil
}

// unprotect is the remedy of ErrProtected.
const unprotect = "disable the termination protection (attribute DisableApiTermination) or terminate the instance yourself"

// refusal returns why the step does not terminate this instance, nil if it does.
func (p *plugin) refusal(node *corev1.Node, instance ec2node.Instance, found Description) error {
	if p.CheckName && node.Name != found.PrivateDNSName && node.Name != instance.ID {
		return fmt.Errorf("its private DNS name is %q, and the name of the node %q (option checkName)", found.PrivateDNSName, node.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		if value, has := found.Tags[key]; !has || value != p.Tags[key] {
			return fmt.Errorf("it does not have the tag %s=%s (option tags)", key, p.Tags[key])
		}
	}
	return nil
}

// Verify implements cleanup.Verifier: the instance does not run any more.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return "", fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID)
	}
	found, err := p.api.Describe(ctx, instance)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("describing instance %s: %w", instance.ID, err)
	case found.State == StateTerminated, found.State == StateShuttingDown && !p.Wait:
		return "", nil
	}
	return fmt.Sprintf("instance %s is %s", instance.ID, found.State), nil
}
