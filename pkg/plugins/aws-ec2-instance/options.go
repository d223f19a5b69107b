// Package awsec2instance is the plugin that terminates the EC2 instance of a Node. It needs no SDK: an agent that has one
// passes an implementation of API.
package awsec2instance

import (
	_ "embed"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Name is the name of the plugin.
const Name = "aws-ec2-instance"

//go:embed schema.json
var schema []byte

type options struct {
	// Tags are tags that the instance must have, such as `kubernetes.io/cluster/NAME: owned`. The step terminates no
	// other instance.
	Tags map[string]string `json:"tags"`
	// CheckName refuses an instance whose private DNS name and ID both differ from the name of the Node. A kubelet reports
	// its own provider ID, so one that is compromised can name the instance of another Node, but not use its name.
	CheckName bool `json:"checkName"`
	// Wait also waits until the instance is terminated. Otherwise, the step is done when EC2 has accepted the request.
	Wait bool `json:"wait"`
}

// Limits of tags, see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: "tags", Problem: fmt.Sprintf(format, arguments...)})
	}
	if len(o.Tags) > maxTags {
		fault("must not have more than %d tags", maxTags)
	}
	for key, value := range o.Tags {
		switch {
		case key == "" || len([]rune(key)) > maxTagKey:
			fault("must have keys of 1 to %d characters, not %q", maxTagKey, key)
		case len([]rune(value)) > maxTagValue:
			fault("must have values of at most %d characters, not the one of %q", maxTagValue, key)
		}
	}
	return faults
}

// Descriptor describes the plugin to the catalog. With a nil API it previews and checks options.
func Descriptor(api API, client kubernetes.Interface, clock clock.WithTicker) cleanup.Descriptor {
	defaults := options{CheckName: true, Wait: true}
	return cleanup.Descriptor{
		Name:           Name,
		Summary:        "terminates the EC2 instance of the node",
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
