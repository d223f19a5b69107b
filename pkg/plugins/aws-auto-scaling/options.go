// Package awsautoscaling is the plugin that takes the EC2 instance of a Node out of its Auto Scaling group, or lets the group
// terminate it. It needs no SDK: an agent that has one passes an implementation of API.
package awsautoscaling

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Name is the name of the plugin.
const Name = "aws-auto-scaling"

//go:embed schema.json
var schema []byte

type options struct {
	// Action is what the step does with the instance. `CompleteLifecycle` completes the lifecycle action with which the
	// group waits for the cleanup. `Detach` removes the instance from the group, and lets it run. `Terminate` has the
	// group terminate it.
	Action string `json:"action" jsonschema:"required,enum=CompleteLifecycle,enum=Detach,enum=Terminate"`
	// Hook is the name of the lifecycle hook. It is required for `CompleteLifecycle`.
	Hook string `json:"hook"`
	// Decrement is required for `Detach` and `Terminate`. With `true`, the desired capacity of the group becomes smaller
	// by one. With `false`, the group launches a replacement.
	Decrement *bool `json:"decrement"`
	// Wait also waits until the group no longer has the instance. Otherwise, the step is done when AWS has accepted the
	// request.
	Wait bool `json:"wait"`
}

const (
	actionComplete  = "CompleteLifecycle"
	actionDetach    = "Detach"
	actionTerminate = "Terminate"
)

// maxName is the maximum length of the name of a lifecycle hook, see
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html.
const maxName = 255

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if actions := []string{actionComplete, actionDetach, actionTerminate}; !slices.Contains(actions, o.Action) {
		fault("action", "must be one of %s, not %q", strings.Join(actions, ", "), o.Action)
		return faults
	}
	completes := o.Action == actionComplete
	switch {
	case completes && (o.Hook == "" || len(o.Hook) > maxName):
		fault("hook", "is required for action %s, with at most %d characters", o.Action, maxName)
	case !completes && o.Hook != "":
		fault("hook", "has no effect with action %s", o.Action)
	}
	switch {
	case completes && o.Decrement != nil:
		fault("decrement", "has no effect with action %s", o.Action)
	case !completes && o.Decrement == nil:
		fault("decrement", "is required for action %s: true makes the group smaller, with false it launches a replacement", o.Action)
	}
	return faults
}

// Descriptor describes the plugin to the catalog. With a nil API it previews and checks options.
func Descriptor(api API, client kubernetes.Interface, clock clock.WithTicker) cleanup.Descriptor {
	var defaults options
	return cleanup.Descriptor{
		Name:           Name,
		Summary:        "takes the instance of the node out of its Auto Scaling group",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 20 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			var nodes typedcorev1.NodeInterface
			if client != nil {
				nodes = client.CoreV1().Nodes()
			}
			return &plugin{options: o, api: api, nodes: nodes, clock: clock}, nil
		}),
	}
}
