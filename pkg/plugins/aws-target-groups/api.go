package awstargetgroups

import (
	"context"
	"errors"
)

// ErrNotFound is the error of API for a target group that does not exist.
var ErrNotFound = errors.New("the target group does not exist")

// StateDraining is the state of a target that is deregistered and still serves open connections.
const StateDraining = "draining"

// Target is one registered target. A Node can be registered with several ports.
type Target struct {
	// ID is the ID of an instance, or an IP address.
	ID string
	// Port overrides the port of the target group. It is part of the identity of the target: to deregister
	// without it removes another target.
	Port int32
	// AvailabilityZone is set for IP addresses only.
	AvailabilityZone string
	// State is healthy, unhealthy, initial, unused, unavailable or StateDraining.
	State string
}

// API is the part of Elastic Load Balancing that the plugin uses. Errors contain no secret. They are marked by
// cleanup.RetryAfter if AWS limits the rate.
type API interface {
	// Targets returns the registered and the draining targets of a target group.
	Targets(ctx context.Context, targetGroup string) ([]Target, error)
	// Deregister deregisters targets, each with the port and the zone that Targets returned. A target that is
	// not registered is not an error.
	Deregister(ctx context.Context, targetGroup string, targets []Target) error
}
