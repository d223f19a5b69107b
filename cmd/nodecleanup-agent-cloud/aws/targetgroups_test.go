package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/sivchari/kumo"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	awstargetgroups "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-target-groups"
)

const secret = "secret-5e9c"

// options sends requests to a server instead of AWS.
func options(url string) Options {
	return Options{HTTP: &http.Client{}, Load: func(context.Context) (aws.Config, error) {
		return aws.Config{Credentials: credentials.NewStaticCredentialsProvider("AKID", secret, ""), BaseEndpoint: &url}, nil
	}}
}

// Against kumo, an emulator of AWS. Its targets are drained at once.
func TestTargetGroupsOfAnEmulatedAWS(t *testing.T) {
	server := kumo.NewServer()
	defer server.Close()
	groups := NewTargetGroups(options(server.URL))
	loaded, err := options(server.URL).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := elb.NewFromConfig(loaded, func(o *elb.Options) { o.Region = "eu-west-1" })
	created, err := client.CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{
		Name: aws.String("web"), Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: aws.String("vpc-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	group := aws.ToString(created.TargetGroups[0].TargetGroupArn)
	if awstargetgroups.Region(group) == "" {
		t.Fatalf("the emulator made the target group %s", group)
	}
	_, err = client.RegisterTargets(t.Context(), &elb.RegisterTargetsInput{TargetGroupArn: &group, Targets: []types.TargetDescription{
		{Id: aws.String("i-0a"), Port: aws.Int32(80)}, {Id: aws.String("i-0a"), Port: aws.Int32(8080)}, {Id: aws.String("i-0b"), Port: aws.Int32(80)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	targets, err := groups.Targets(t.Context(), group)
	if err != nil || len(targets) != 3 || targets[0].State != "healthy" {
		t.Fatalf("%+v, %v", targets, err)
	}
	var own []awstargetgroups.Target
	for _, target := range targets {
		if target.ID == "i-0a" {
			own = append(own, target)
		}
	}
	for range 2 { // To deregister again is no error.
		if err := groups.Deregister(t.Context(), group, own); err != nil {
			t.Fatal(err)
		}
	}
	if targets, err := groups.Targets(t.Context(), group); err != nil || len(targets) != 1 || targets[0].ID != "i-0b" {
		t.Errorf("%+v, %v", targets, err)
	}
	missing := strings.Replace(group, "/web/", "/gone/", 1)
	if _, err := groups.Targets(t.Context(), missing); !errors.Is(err, awstargetgroups.ErrNotFound) {
		t.Errorf("a missing target group: %v", err)
	}
	if err := groups.Deregister(t.Context(), missing, own); !errors.Is(err, awstargetgroups.ErrNotFound) {
		t.Errorf("a missing target group: %v", err)
	}
}

// The emulator never fails in these ways. The form of the answers is that of
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html.
func TestErrorsOfAWSAreClassified(t *testing.T) {
	const group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"
	for code, test := range map[string]struct {
		status    int
		permanent bool
		after     time.Duration
	}{
		"Throttling":            {400, false, throttledFor},
		"AccessDenied":          {403, true, 0},
		"ExpiredToken":          {403, false, 0},
		"ValidationError":       {400, true, 0},
		"InvalidTarget":         {400, false, 0}, // No list is no empty list.
		"ServiceUnavailable":    {503, false, 0},
		"RequestLimitExceeded":  {400, false, throttledFor},
		"UnrecognizedException": {400, false, 0},
	} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			requests++
			writer.WriteHeader(test.status)
			fmt.Fprintf(writer, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code)
		}))
		_, err := NewTargetGroups(options(server.URL)).Targets(t.Context(), group)
		server.Close()
		after, _ := cleanup.RetryDelay(err)
		if err == nil || err.Error() != code+": no" || cleanup.IsPermanent(err) != test.permanent || after != test.after {
			t.Errorf("%s: %v, permanent %t, after %s", code, err, cleanup.IsPermanent(err), after)
		}
		if requests != 1 {
			t.Errorf("%s: the SDK sent %d requests, the agent does the retries", code, requests)
		}
	}
}

func TestAnErrorOfTheConfigurationIsNotKept(t *testing.T) {
	server := kumo.NewServer()
	defer server.Close()
	works := options(server.URL).Load
	fails := true
	groups := NewTargetGroups(Options{HTTP: &http.Client{}, Load: func(ctx context.Context) (aws.Config, error) {
		if fails {
			return aws.Config{}, errors.New("no metadata service")
		}
		return works(ctx)
	}})
	const group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"
	if _, err := groups.Targets(t.Context(), group); err == nil || !strings.Contains(err.Error(), "no metadata service") {
		t.Errorf("%v", err)
	}
	fails = false
	if _, err := groups.Targets(t.Context(), group); !errors.Is(err, awstargetgroups.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
