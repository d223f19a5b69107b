package aws

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	awstargetgroups "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-target-groups"
)

// targetGroups implements awstargetgroups.API.
type targetGroups struct{ *loader }

// NewTargetGroups returns the target groups of Elastic Load Balancing. It makes no request.
func NewTargetGroups(options Options) awstargetgroups.API {
	return &targetGroups{&loader{Options: options}}
}

// client returns a client for the region of a target group.
func (g *targetGroups) client(ctx context.Context, group string) (*elb.Client, error) {
	loaded, err := g.config(ctx)
	if err != nil {
		return nil, err
	}
	return elb.NewFromConfig(loaded, func(o *elb.Options) { o.Region = awstargetgroups.Region(group) }), nil
}

// Targets implements awstargetgroups.API. Without a list of targets, AWS answers with all of them, each with the
// port with which it is registered.
func (g *targetGroups) Targets(ctx context.Context, group string) ([]awstargetgroups.Target, error) {
	client, err := g.client(ctx, group)
	if err != nil {
		return nil, err
	}
	answer, err := client.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &group})
	if err != nil {
		return nil, classifyGroup(err)
	}
	var targets []awstargetgroups.Target
	for _, description := range answer.TargetHealthDescriptions {
		if description.Target == nil {
			continue
		}
		target := awstargetgroups.Target{
			ID: aws.ToString(description.Target.Id), Port: aws.ToInt32(description.Target.Port), AvailabilityZone: aws.ToString(description.Target.AvailabilityZone),
		}
		if description.TargetHealth != nil {
			target.State = string(description.TargetHealth.State)
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// Deregister implements awstargetgroups.API.
func (g *targetGroups) Deregister(ctx context.Context, group string, targets []awstargetgroups.Target) error {
	client, err := g.client(ctx, group)
	if err != nil {
		return err
	}
	input := &elb.DeregisterTargetsInput{TargetGroupArn: &group}
	for _, target := range targets {
		described := types.TargetDescription{Id: aws.String(target.ID)}
		if target.Port != 0 {
			described.Port = aws.Int32(target.Port)
		}
		if target.AvailabilityZone != "" {
			described.AvailabilityZone = aws.String(target.AvailabilityZone)
		}
		input.Targets = append(input.Targets, described)
	}
	_, err = client.DeregisterTargets(ctx, input)
	if invalid := (*types.InvalidTargetException)(nil); errors.As(err, &invalid) {
		return nil // An instance that is terminated: AWS removes it from the list.
	}
	return classifyGroup(err)
}

// classifyGroup is classify for errors about target groups.
func classifyGroup(err error) error {
	var notFound *types.TargetGroupNotFoundException
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notFound):
		return awstargetgroups.ErrNotFound
	}
	return classify(err)
}
