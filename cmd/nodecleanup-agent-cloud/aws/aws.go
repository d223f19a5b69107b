// Package aws implements what the plugins of AWS need with the SDK of AWS.
package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Options configure the clients of AWS.
type Options struct {
	// HTTP sends the requests.
	HTTP *http.Client
	// Load, unless it is nil, is used instead of the default chain of credentials: environment, IAM roles for
	// service accounts, EKS Pod Identity, and the instance.
	Load func(ctx context.Context) (aws.Config, error)
}

// loader reads the configuration of the SDK once it is needed, so that an agent without a step of AWS makes no request.
type loader struct {
	Options
	mutex  sync.Mutex
	loaded *aws.Config
}

// config returns the configuration. An error is not kept.
func (l *loader) config(ctx context.Context) (aws.Config, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.loaded != nil {
		return *l.loaded, nil
	}
	load := l.Load
	if load == nil {
		load = func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }
	}
	loaded, err := load(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the configuration of AWS: %w", err)
	}
	loaded.HTTPClient = l.HTTP
	// The agent retries, by the config of the step.
	loaded.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	l.loaded = &loaded
	return loaded, nil
}

// throttledFor is the minimum wait after AWS has limited the rate, or is busy with the same object. AWS does not say how
// long to wait.
const throttledFor = 5 * time.Second

// busy are the codes of EC2 Auto Scaling for a group that is changing, see
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_TerminateInstanceInAutoScalingGroup.html.
var busy = []string{"ResourceContention", "ScalingActivityInProgress"}

// final are the codes of errors that no retry can fix: AWS denies the request, or finds it invalid. See
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html. Expired credentials are not among them: the
// SDK gets new ones.
var final = []string{
	"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OperationNotPermitted", "OptInRequired",
	"ValidationError", "InvalidInstanceID.Malformed", "InvalidParameterValue", "UnsupportedOperation",
}

// encoded begins the part of a message that only AWS can read, and that is long.
const encoded = " Encoded authorization failure message:"

// classify returns an error for operators: the message of AWS without the details of the request, and when to
// retry.
func classify(err error) error {
	var answered smithy.APIError
	if !errors.As(err, &answered) {
		return err
	}
	code := answered.ErrorCode()
	message, _, _ := strings.Cut(answered.ErrorMessage(), encoded)
	short := fmt.Errorf("%s: %s", code, message)
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	switch {
	case throttled, slices.Contains(busy, code):
		return cleanup.RetryAfter(short, throttledFor)
	case slices.Contains(final, code):
		return cleanup.Permanent(short)
	}
	return short
}
