package awsautoscaling

import (
	"context"
	"errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// The errors of API that have a meaning for the plugin.
var (
	// ErrNotFound: no Auto Scaling group has the instance.
	ErrNotFound = errors.New("no Auto Scaling group has the instance")
	// ErrNoAction: no lifecycle action of this hook waits for the instance.
	ErrNoAction = errors.New("no lifecycle action waits for the instance")
)

// Membership is the place of an instance in its Auto Scaling group.
type Membership struct {
	Group string
	// State is the lifecycle state, such as InService or Terminating:Wait. See
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html.
	State string
}

// API is the part of EC2 Auto Scaling that the plugin uses. Errors contain no secret. They are marked by
// cleanup.RetryAfter if AWS limits the rate or the group is busy, and by cleanup.Permanent if AWS denies the request or
// finds it invalid.
type API interface {
	// Membership returns the group and the lifecycle state of an instance, or ErrNotFound.
	Membership(ctx context.Context, instance ec2node.Instance) (Membership, error)
	// TerminationHooks returns the names of the lifecycle hooks that run when the group terminates an instance.
	TerminationHooks(ctx context.Context, region, group string) ([]string, error)
	// Complete completes the lifecycle action of a hook for an instance, with the result CONTINUE. It returns ErrNoAction
	// if none waits.
	Complete(ctx context.Context, instance ec2node.Instance, group, hook string) error
	// Detach removes an instance from its group. With decrement, the desired capacity of the group becomes smaller;
	// otherwise the group launches a replacement.
	Detach(ctx context.Context, instance ec2node.Instance, group string, decrement bool) error
	// Terminate has the group terminate an instance, with decrement as in Detach.
	Terminate(ctx context.Context, instance ec2node.Instance, decrement bool) error
}
