package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	awsec2instance "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-ec2-instance"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// instances implements awsec2instance.API.
type instances struct{ *loader }

// NewInstances returns the instances of EC2. It makes no request.
func NewInstances(options Options) awsec2instance.API {
	return &instances{&loader{Options: options}}
}

func (i *instances) client(ctx context.Context, region string) (*ec2.Client, error) {
	loaded, err := i.config(ctx)
	if err != nil {
		return nil, err
	}
	return ec2.NewFromConfig(loaded, func(o *ec2.Options) { o.Region = region }), nil
}

// Describe implements awsec2instance.API. EC2 answers with an error for an ID that it does not know, so an empty list
// means nothing.
func (i *instances) Describe(ctx context.Context, instance ec2node.Instance) (awsec2instance.Description, error) {
	client, err := i.client(ctx, instance.Region)
	if err != nil {
		return awsec2instance.Description{}, err
	}
	answer, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{instance.ID}})
	if err != nil {
		return awsec2instance.Description{}, classifyInstance(err)
	}
	for _, reservation := range answer.Reservations {
		for _, one := range reservation.Instances {
			if aws.ToString(one.InstanceId) != instance.ID || one.State == nil {
				continue
			}
			found := awsec2instance.Description{State: string(one.State.Name), PrivateDNSName: aws.ToString(one.PrivateDnsName), Tags: map[string]string{}}
			for _, tag := range one.Tags {
				found.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
			}
			return found, nil
		}
	}
	return awsec2instance.Description{}, fmt.Errorf("EC2 did not describe instance %s", instance.ID)
}

// allowed is the code of the error with which EC2 answers to a request with DryRun that it would have executed.
const allowed = "DryRunOperation"

// Terminate implements awsec2instance.API. Without an error for a request with DryRun, the instance may be terminated: the
// server is not EC2.
func (i *instances) Terminate(ctx context.Context, instance ec2node.Instance, dryRun bool) error {
	client, err := i.client(ctx, instance.Region)
	if err != nil {
		return err
	}
	input := &ec2.TerminateInstancesInput{InstanceIds: []string{instance.ID}}
	if dryRun {
		input.DryRun = aws.Bool(true)
	}
	_, err = client.TerminateInstances(ctx, input)
	var answered smithy.APIError
	if dryRun {
		if errors.As(err, &answered) && answered.ErrorCode() == allowed {
			return nil
		}
		if err == nil {
			return fmt.Errorf("the server did not answer %s to a request with DryRun", allowed)
		}
	}
	return classifyInstance(err)
}

// classifyInstance is classify for errors about instances. The codes are those of
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and the message about the termination
// protection is that of https://github.com/rebuy-de/aws-nuke/issues/279.
func classifyInstance(err error) error {
	var answered smithy.APIError
	if !errors.As(err, &answered) {
		return err
	}
	switch code := answered.ErrorCode(); {
	case code == "InvalidInstanceID.NotFound":
		return awsec2instance.ErrNotFound
	case code == "OperationNotPermitted" && strings.Contains(answered.ErrorMessage(), "disableApiTermination"):
		return awsec2instance.ErrProtected
	}
	return classify(err)
}
