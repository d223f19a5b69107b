package aws

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	awsautoscaling "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-auto-scaling"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

const autoScalingVersion = "2011-01-01"

var one = ec2node.Instance{ID: "i-0123456789abcdef0", Region: "eu-west-1"}

// enveloped is an answer of EC2 Auto Scaling, see the examples in
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html.
func enveloped(action, result string) string {
	return fmt.Sprintf(`<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r1</RequestId></ResponseMetadata></%[1]sResponse>`, action, result)
}

func member(id, state string) string {
	return fmt.Sprintf(`<AutoScalingInstances><member><InstanceId>%s</InstanceId><AutoScalingGroupName>workers</AutoScalingGroupName><AvailabilityZone>eu-west-1a</AvailabilityZone><LifecycleState>%s</LifecycleState><HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member></AutoScalingInstances>`, id, state)
}

func TestTheGroupOfAnInstance(t *testing.T) {
	for name, test := range map[string]struct {
		document string
		want     awsautoscaling.Membership
		err      error
	}{
		"waits":            {member(one.ID, "Terminating:Wait"), awsautoscaling.Membership{Group: "workers", State: "Terminating:Wait"}, nil},
		"no group":         {`<AutoScalingInstances/>`, awsautoscaling.Membership{}, awsautoscaling.ErrNotFound},
		"another instance": {member("i-0b", "InService"), awsautoscaling.Membership{}, awsautoscaling.ErrNotFound},
	} {
		q := newQuery(t, "autoscaling", autoScalingVersion, map[string]func(map[string]string) (int, string){
			"DescribeAutoScalingInstances": func(parameters map[string]string) (int, string) {
				expect(t, parameters, map[string]string{"InstanceIds.member.1": one.ID})
				return 200, enveloped("DescribeAutoScalingInstances", test.document)
			},
		})
		got, err := NewAutoScaling(options(q.URL)).Membership(t.Context(), one)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestOnlyTerminationHooksAreListed(t *testing.T) {
	q := newQuery(t, "autoscaling", autoScalingVersion, map[string]func(map[string]string) (int, string){
		"DescribeLifecycleHooks": func(parameters map[string]string) (int, string) {
			expect(t, parameters, map[string]string{"AutoScalingGroupName": "workers"})
			return 200, enveloped("DescribeLifecycleHooks", `<LifecycleHooks>`+
				`<member><LifecycleHookName>join</LifecycleHookName><LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition></member>`+
				`<member><LifecycleHookName>drain</LifecycleHookName><LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition></member></LifecycleHooks>`)
		},
	})
	if names, err := NewAutoScaling(options(q.URL)).TerminationHooks(t.Context(), "eu-west-1", "workers"); err != nil || !slices.Equal(names, []string{"drain"}) {
		t.Errorf("%q, %v", names, err)
	}
}

func TestRequestsToAGroup(t *testing.T) {
	for action, test := range map[string]struct {
		call       func(awsautoscaling.API) error
		parameters map[string]string
	}{
		"CompleteLifecycleAction": {
			func(api awsautoscaling.API) error { return api.Complete(t.Context(), one, "workers", "drain") },
			map[string]string{"AutoScalingGroupName": "workers", "LifecycleHookName": "drain", "InstanceId": one.ID, "LifecycleActionResult": "CONTINUE"},
		},
		"DetachInstances": {
			func(api awsautoscaling.API) error { return api.Detach(t.Context(), one, "workers", false) },
			map[string]string{"AutoScalingGroupName": "workers", "InstanceIds.member.1": one.ID, "ShouldDecrementDesiredCapacity": "false"},
		},
		"TerminateInstanceInAutoScalingGroup": {
			func(api awsautoscaling.API) error { return api.Terminate(t.Context(), one, true) },
			map[string]string{"InstanceId": one.ID, "ShouldDecrementDesiredCapacity": "true"},
		},
	} {
		q := newQuery(t, "autoscaling", autoScalingVersion, map[string]func(map[string]string) (int, string){
			action: func(parameters map[string]string) (int, string) {
				expect(t, parameters, test.parameters)
				return 200, enveloped(action, "")
			},
		})
		if err := test.call(NewAutoScaling(options(q.URL))); err != nil {
			t.Errorf("%s: %v", action, err)
		}
		classified(t, "autoscaling", autoScalingVersion, func(url string) error { return test.call(NewAutoScaling(options(url))) })
	}
	classified(t, "autoscaling", autoScalingVersion, func(url string) error {
		_, err := NewAutoScaling(options(url)).Membership(t.Context(), one)
		return err
	})
	classified(t, "autoscaling", autoScalingVersion, func(url string) error {
		_, err := NewAutoScaling(options(url)).TerminationHooks(t.Context(), "eu-west-1", "workers")
		return err
	})
}

// The messages are those that people report: https://github.com/convox/rack/issues/2432,
// https://github.com/buildkite/elastic-ci-stack-for-aws/issues/1261.
func TestALifecycleActionThatDoesNotWait(t *testing.T) {
	for message, noAction := range map[string]bool{
		"No active Lifecycle Action found with instance ID " + one.ID: true,
		"Currently, desiredSize equals minSize (1).":                  false,
	} {
		q := newQuery(t, "autoscaling", autoScalingVersion, nil)
		q.answers = map[string]func(map[string]string) (int, string){"CompleteLifecycleAction": func(map[string]string) (int, string) { return 400, q.failure("ValidationError", message) }}
		err := NewAutoScaling(options(q.URL)).Complete(t.Context(), one, "workers", "drain")
		if errors.Is(err, awsautoscaling.ErrNoAction) != noAction || cleanup.IsPermanent(err) == noAction {
			t.Errorf("%s: %v", message, err)
		}
	}
}
