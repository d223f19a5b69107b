package awsec2instance

import (
	"context"
	"errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/ec2node"
)

// The errors of API that have a meaning for the plugin.
var (
	// ErrNotFound: the instance does not exist. EC2 forgets a terminated instance after about an hour.
	ErrNotFound = errors.New("the instance does not exist")
	// ErrProtected: the instance has termination protection.
	ErrProtected = errors.New("the instance has termination protection")
)

// The states of an instance that the plugin knows, see
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html.
const (
	StateShuttingDown = "shutting-down"
	StateTerminated   = "terminated"
)

// Description is what EC2 reports about an instance.
type Description struct {
	// State is pending, running, stopping, stopped, StateShuttingDown or StateTerminated.
	State string
	// PrivateDNSName is empty for a terminated instance.
	PrivateDNSName string
	Tags           map[string]string
}

// API is the part of EC2 that the plugin uses. Errors contain no secret. They are marked by cleanup.RetryAfter if AWS
// limits the rate, and by cleanup.Permanent if AWS denies the request.
type API interface {
	// Describe returns the instance, or ErrNotFound.
	Describe(ctx context.Context, instance ec2node.Instance) (Description, error)
	// Terminate requests the termination, or returns ErrNotFound or ErrProtected. With dryRun, AWS only checks whether it
	// allows the request: nil if it does. An instance that is terminated already is no error.
	Terminate(ctx context.Context, instance ec2node.Instance, dryRun bool) error
}
