package aws

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"

	awsautoscaling "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-auto-scaling"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// autoScaling implements awsautoscaling.API.
type autoScaling struct{ *loader }

// NewAutoScaling returns the groups of EC2 Auto Scaling. It makes no request.
func NewAutoScaling(options Options) awsautoscaling.API {
	return &autoScaling{&loader{Options: options}}
}

func (a *autoScaling) client(ctx context.Context, region string) (*autoscaling.Client, error) {
	loaded, err := a.config(ctx)
	if err != nil {
		return nil, err
	}
	return autoscaling.NewFromConfig(loaded, func(o *autoscaling.Options) { o.Region = region }), nil
}

// Membership implements awsautoscaling.API. For an instance without a group, AWS answers with an empty list.
func (a *autoScaling) Membership(ctx context.Context, instance ec2node.Instance) (awsautoscaling.Membership, error) {
	client, err := a.client(ctx, instance.Region)
	if err != nil {
		return awsautoscaling.Membership{}, err
	}
	answer, err := client.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instance.ID}})
	if err != nil {
		return awsautoscaling.Membership{}, classify(err)
	}
	for _, one := range answer.AutoScalingInstances {
		if aws.ToString(one.InstanceId) == instance.ID {
			return awsautoscaling.Membership{Group: aws.ToString(one.AutoScalingGroupName), State: aws.ToString(one.LifecycleState)}, nil
		}
	}
	return awsautoscaling.Membership{}, awsautoscaling.ErrNotFound
}

// onTermination is the transition of a hook that runs when a group terminates an instance.
const onTermination = "autoscaling:EC2_INSTANCE_TERMINATING"

// TerminationHooks implements awsautoscaling.API.
func (a *autoScaling) TerminationHooks(ctx context.Context, region, group string) ([]string, error) {
	client, err := a.client(ctx, region)
	if err != nil {
		return nil, err
	}
	answer, err := client.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
	if err != nil {
		return nil, classify(err)
	}
	var names []string
	for _, hook := range answer.LifecycleHooks {
		if aws.ToString(hook.LifecycleTransition) == onTermination {
			names = append(names, aws.ToString(hook.LifecycleHookName))
		}
	}
	return names, nil
}

// noAction begins the message of a ValidationError for a lifecycle action that does not wait. AWS has no code of its own
// for it, see https://github.com/spacelift-io/terraform-aws-spacelift-workerpool-on-ec2/pull/197.
const noAction = "No active Lifecycle Action found"

// Complete implements awsautoscaling.API. The ID of the instance identifies the action, so it needs no token.
func (a *autoScaling) Complete(ctx context.Context, instance ec2node.Instance, group, hook string) error {
	client, err := a.client(ctx, instance.Region)
	if err != nil {
		return err
	}
	_, err = client.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &group, LifecycleHookName: &hook, InstanceId: &instance.ID, LifecycleActionResult: aws.String("CONTINUE"),
	})
	var answered smithy.APIError
	if errors.As(err, &answered) && strings.HasPrefix(answered.ErrorMessage(), noAction) {
		return awsautoscaling.ErrNoAction
	}
	return classify(err)
}

// Detach implements awsautoscaling.API.
func (a *autoScaling) Detach(ctx context.Context, instance ec2node.Instance, group string, decrement bool) error {
	client, err := a.client(ctx, instance.Region)
	if err != nil {
		return err
	}
	_, err = client.DetachInstances(ctx, &autoscaling.DetachInstancesInput{
		AutoScalingGroupName: &group, InstanceIds: []string{instance.ID}, ShouldDecrementDesiredCapacity: &decrement,
	})
	return classify(err)
}

// Terminate implements awsautoscaling.API.
func (a *autoScaling) Terminate(ctx context.Context, instance ec2node.Instance, decrement bool) error {
	client, err := a.client(ctx, instance.Region)
	if err != nil {
		return err
	}
	_, err = client.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: &instance.ID, ShouldDecrementDesiredCapacity: &decrement,
	})
	return classify(err)
}
