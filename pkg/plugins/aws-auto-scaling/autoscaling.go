package awsautoscaling

import (
	"context"
	"errors"
	"fmt"
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

// completedHook is the output with the name of the hook whose lifecycle action is completed.
const completedHook = "completedHook"

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string {
	if p.Action != actionComplete {
		return []string{}
	}
	return []string{completedHook}
}

// Applies implements cleanup.NodeFilter: the Node is an EC2 instance.
func (p *plugin) Applies(node *corev1.Node) (applies bool, reason string) {
	return ec2node.Applies(node)
}

// Rules implements cleanup.RuleRequirer: the step reads the Node, and the health check lists some.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}}}
}

// run is one call of Cleanup.
type run struct {
	*plugin
	target   cleanup.Target
	instance ec2node.Instance
	// completed: the lifecycle action of the hook is completed.
	completed bool
	// accepted is the state in which AWS accepted the request. The group can report it for a moment longer. A second
	// request would make a group smaller twice.
	accepted string
	// refused is the error of AWS that says that the request is invalid, and refusedIn the state before it. If the state
	// has changed since then, the error means nothing.
	refused   error
	refusedIn string
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return cleanup.Permanent(fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID))
	}
	if err := ec2node.Same(ctx, p.nodes, target.Node); err != nil {
		return fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	r := &run{plugin: p, target: target, instance: instance, completed: p.hasCompleted(target)}
	for waited := false; ; waited = true {
		progress, done, err := r.next(ctx)
		pause := pollPeriod
		if delay, busy := cleanup.RetryDelay(err); busy && waited { // Many Nodes exceed the limit together.
			progress, pause, err = err.Error(), max(delay, pollPeriod), nil
		}
		if err != nil {
			return fmt.Errorf("instance %s: %w", instance.ID, err)
		}
		target.Progress(progress)
		if done {
			target.Log.Info(progress, "instance", instance.ID)
			return nil
		}
		if err := sleep.For(ctx, p.clock, pause); err != nil {
			return fmt.Errorf("instance %s: %s: %w", instance.ID, progress, err)
		}
	}
}

// hasCompleted reports whether an earlier attempt recorded that the lifecycle action of the hook is completed.
func (p *plugin) hasCompleted(target cleanup.Target) bool {
	return p.Action == actionComplete && target.Outputs[target.Step][completedHook] == p.Hook
}

// next makes the next move. It returns what the step waits for, or that it is done.
func (r *run) next(ctx context.Context) (progress string, done bool, err error) {
	membership, err := r.membership(ctx, r.instance)
	if err != nil {
		return "", false, err
	}
	move, why := decide(r.Action, membership.State, r.completed)
	if move == act {
		if move, why, err = r.act(ctx, membership, why); err != nil {
			return "", false, err
		}
	}
	switch move {
	case refuse:
		return "", false, cleanup.Permanent(errors.New(why))
	case leave:
		return why, !r.Wait, nil
	}
	return why, move == finish, nil
}

// act sends the request, unless AWS has accepted it in this state.
func (r *run) act(ctx context.Context, in Membership, why string) (move, string, error) {
	if r.accepted != absent && r.accepted == in.State {
		return leave, "waiting for group " + in.Group, nil
	}
	if r.refused != nil && r.refusedIn == in.State {
		return refuse, "", r.refused
	}
	err := r.request(ctx, in)
	switch {
	case err == nil:
		r.accepted, r.refused = in.State, nil
		return leave, fmt.Sprintf("group %s has accepted the request: %s", in.Group, why), nil
	case cleanup.IsPermanent(err):
		r.refused, r.refusedIn = err, in.State
		return hold, "reading the state again, because AWS refuses the request: " + err.Error(), nil
	}
	return refuse, "", err
}

// request sends the request of the action.
func (r *run) request(ctx context.Context, in Membership) error {
	switch r.Action {
	case actionComplete:
		return r.complete(ctx, in)
	case actionDetach:
		if err := r.api.Detach(ctx, r.instance, in.Group, *r.Decrement); err != nil {
			return fmt.Errorf("detaching it from group %s: %w", in.Group, err)
		}
	case actionTerminate:
		// A retained instance does not count toward the desired capacity, see
		// https://docs.aws.amazon.com/autoscaling/ec2/userguide/manage-retained-instances.html.
		decrement := *r.Decrement && in.State != retained
		if err := r.api.Terminate(ctx, r.instance, decrement); err != nil {
			return fmt.Errorf("terminating it in group %s: %w", in.Group, err)
		}
	}
	return nil
}

// complete completes the lifecycle action, and records it. With several hooks, the instance continues to wait afterwards,
// so its state does not tell whether this hook is completed.
func (r *run) complete(ctx context.Context, in Membership) error {
	err := r.api.Complete(ctx, r.instance, in.Group, r.Hook)
	if errors.Is(err, ErrNoAction) {
		hooks, failed := r.api.TerminationHooks(ctx, r.instance.Region, in.Group)
		if failed != nil {
			return fmt.Errorf("listing the lifecycle hooks of group %s: %w", in.Group, failed)
		}
		if !slices.Contains(hooks, r.Hook) {
			return cleanup.Permanent(fmt.Errorf("group %s has no termination lifecycle hook %q, only %q", in.Group, r.Hook, hooks))
		}
		err = nil // An earlier attempt or another program has completed it, or it has timed out.
	}
	if err != nil {
		return fmt.Errorf("completing lifecycle hook %s of group %s: %w", r.Hook, in.Group, err)
	}
	r.completed = true
	return r.target.Output(completedHook, r.Hook)
}

// membership returns the group of an instance, or the state absent.
func (p *plugin) membership(ctx context.Context, instance ec2node.Instance) (Membership, error) {
	found, err := p.api.Membership(ctx, instance)
	if errors.Is(err, ErrNotFound) {
		return Membership{State: absent}, nil
	}
	if err != nil {
		return Membership{}, fmt.Errorf("reading its Auto Scaling group: %w", err)
	}
	return found, nil
}

// Verify implements cleanup.Verifier. An instance can begin to terminate after the step: its lifecycle action then waits for
// this step.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	instance, is := ec2node.Of(target.Node)
	if !is {
		return "", fmt.Errorf("provider ID %q is not that of an EC2 instance", target.Node.Spec.ProviderID)
	}
	found, err := p.membership(ctx, instance)
	if err != nil {
		return "", fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	switch move, _ := decide(p.Action, found.State, p.hasCompleted(target)); {
	case move == finish, move == leave && !p.Wait:
		return "", nil
	}
	return fmt.Sprintf("instance %s is %s in group %s", instance.ID, found.State, found.Group), nil
}
