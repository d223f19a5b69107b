package aws

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/sivchari/kumo"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	awsec2instance "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-ec2-instance"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

const ec2Version = "2016-11-15"

// Against kumo, an emulator of AWS. Its instances are terminated at once. It ignores DryRun, and has no tags.
func TestInstancesOfAnEmulatedAWS(t *testing.T) {
	server := kumo.NewServer()
	defer server.Close()
	loaded, err := options(server.URL).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := ec2.NewFromConfig(loaded, func(o *ec2.Options) { o.Region = "eu-west-1" })
	started, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String("ami-1"), MinCount: aws.Int32(2), MaxCount: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	own := ec2node.Instance{ID: aws.ToString(started.Instances[0].InstanceId), Region: "eu-west-1"}
	other := ec2node.Instance{ID: aws.ToString(started.Instances[1].InstanceId), Region: "eu-west-1"}
	api := NewInstances(options(server.URL))
	state := func(instance ec2node.Instance) string {
		t.Helper()
		found, err := api.Describe(t.Context(), instance)
		if err != nil {
			t.Fatal(err)
		}
		return found.State
	}
	if state(own) != "running" {
		t.Fatalf("the instance is %s", state(own))
	}
	for range 2 { // To terminate it again is no error.
		if err := api.Terminate(t.Context(), own, false); err != nil {
			t.Fatal(err)
		}
	}
	if state(own) != awsec2instance.StateTerminated || state(other) != "running" {
		t.Errorf("the instances are %s and %s", state(own), state(other))
	}
	missing := ec2node.Instance{ID: "i-0123456789abcdef0", Region: "eu-west-1"}
	if _, err := api.Describe(t.Context(), missing); !errors.Is(err, awsec2instance.ErrNotFound) {
		t.Errorf("a missing instance: %v", err)
	}
	if err := api.Terminate(t.Context(), missing, false); !errors.Is(err, awsec2instance.ErrNotFound) {
		t.Errorf("a missing instance: %v", err)
	}
	// A server that ignores DryRun has not checked anything.
	if err := api.Terminate(t.Context(), other, true); err == nil || !strings.Contains(err.Error(), "did not answer DryRunOperation") {
		t.Errorf("DryRun: %v", err)
	}
}

func TestAnInstanceIsDescribed(t *testing.T) {
	// An abridged example of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html.
	described := func(id string) string {
		return fmt.Sprintf(`<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r1</requestId><reservationSet><item><instancesSet><item>`+
			`<instanceId>%s</instanceId><instanceState><code>16</code><name>running</name></instanceState><privateDnsName>ip-10-0-0-1.eu-west-1.compute.internal</privateDnsName>`+
			`<tagSet><item><key>kubernetes.io/cluster/prod</key><value>owned</value></item><item><key>empty</key><value/></item></tagSet></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`, id)
	}
	describe := func(document string) (awsec2instance.Description, error) {
		q := newQuery(t, "ec2", ec2Version, map[string]func(map[string]string) (int, string){
			"DescribeInstances": func(parameters map[string]string) (int, string) {
				expect(t, parameters, map[string]string{"InstanceId.1": one.ID})
				return 200, document
			},
		})
		return NewInstances(options(q.URL)).Describe(t.Context(), one)
	}
	found, err := describe(described(one.ID))
	tags := map[string]string{"kubernetes.io/cluster/prod": "owned", "empty": ""}
	if err != nil || found.State != "running" || found.PrivateDNSName != "ip-10-0-0-1.eu-west-1.compute.internal" || !maps.Equal(found.Tags, tags) {
		t.Errorf("%+v, %v", found, err)
	}
	for _, document := range []string{described("i-0b"), `<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>`} {
		if found, err := describe(document); err == nil || errors.Is(err, awsec2instance.ErrNotFound) {
			t.Errorf("without the instance in the answer: %+v, %v", found, err)
		}
	}
}

// EC2 answers 412 to a request with DryRun that it would have executed. The messages are those of
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and
// https://github.com/rebuy-de/aws-nuke/issues/279.
func TestTerminationsAndTheirErrors(t *testing.T) {
	for name, test := range map[string]struct {
		dryRun        bool
		status        int
		code, message string
		want          error
		fails         string
		permanent     bool
	}{
		"accepted":             {status: 200},
		"allowed":              {dryRun: true, status: 412, code: "DryRunOperation", message: "Request would have succeeded, but DryRun flag is set."},
		"denied":               {dryRun: true, status: 403, code: "UnauthorizedOperation", message: "You are not authorized.", fails: "UnauthorizedOperation: You are not authorized.", permanent: true},
		"ignores DryRun":       {dryRun: true, status: 200, fails: "the server did not answer DryRunOperation to a request with DryRun"},
		"no DryRun sent":       {status: 412, code: "DryRunOperation", message: "no", fails: "DryRunOperation: no"},
		"gone":                 {status: 400, code: "InvalidInstanceID.NotFound", message: "The instance ID 'i-0a' does not exist", want: awsec2instance.ErrNotFound},
		"gone, DryRun":         {dryRun: true, status: 400, code: "InvalidInstanceID.NotFound", message: "no", want: awsec2instance.ErrNotFound},
		"protected":            {status: 400, code: "OperationNotPermitted", message: "The instance 'i-0a' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", want: awsec2instance.ErrProtected},
		"managed by a service": {status: 400, code: "OperationNotPermitted", message: "no", fails: "OperationNotPermitted: no", permanent: true},
		"malformed":            {status: 400, code: "InvalidInstanceID.Malformed", message: "no", fails: "InvalidInstanceID.Malformed: no", permanent: true},
	} {
		q := newQuery(t, "ec2", ec2Version, nil)
		q.answers = map[string]func(map[string]string) (int, string){"TerminateInstances": func(parameters map[string]string) (int, string) {
			want := map[string]string{"InstanceId.1": one.ID}
			if test.dryRun {
				want["DryRun"] = "true"
			}
			expect(t, parameters, want)
			if test.code == "" {
				return test.status, `<TerminateInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><instancesSet/></TerminateInstancesResponse>`
			}
			return test.status, q.failure(test.code, test.message)
		}}
		err := NewInstances(options(q.URL)).Terminate(t.Context(), one, test.dryRun)
		switch {
		case test.want != nil && !errors.Is(err, test.want), test.want == nil && (err == nil) != (test.fails == ""), test.fails != "" && err.Error() != test.fails:
			t.Errorf("%s: %v", name, err)
		case cleanup.IsPermanent(err) != test.permanent:
			t.Errorf("%s: permanent is %t", name, !test.permanent)
		}
	}
	classified(t, "ec2", ec2Version, func(url string) error { return NewInstances(options(url)).Terminate(t.Context(), one, false) })
	classified(t, "ec2", ec2Version, func(url string) error { return NewInstances(options(url)).Terminate(t.Context(), one, true) })
	classified(t, "ec2", ec2Version, func(url string) error {
		_, err := NewInstances(options(url)).Describe(t.Context(), one)
		return err
	})
}
