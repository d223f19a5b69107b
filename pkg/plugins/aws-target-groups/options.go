// Package awstargetgroups is the plugin that deregisters a Node from target groups of Elastic Load Balancing. It
// needs no SDK: an agent that has one passes an implementation of API.
package awstargetgroups

import (
	_ "embed"
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Name is the name of the plugin.
const Name = "aws-target-groups"

//go:embed schema.json
var schema []byte

type options struct {
	// TargetGroups are the ARNs of the target groups. List only target groups that no controller manages: the
	// AWS Load Balancer Controller and the cloud controller manager remove a Node from theirs.
	TargetGroups []string `json:"targetGroups" jsonschema:"required,minItems=1"`
	// Exclude sets the label `node.kubernetes.io/exclude-from-external-load-balancers` on the Node first, so that
	// no controller registers the Node again.
	Exclude bool `json:"exclude"`
	// ByAddress also deregisters targets that are IP addresses of the Node. A kubelet reports the addresses of
	// its Node, so one that is compromised can name those of another Node.
	ByAddress bool `json:"byAddress"`
	// Settle is a wait after the targets are drained. A Network Load Balancer can send connections to a target
	// for about two minutes after that. At most 15m.
	Settle metav1.Duration `json:"settle"`
}

// maxSettle is the longest wait after the targets are drained.
const maxSettle = 15 * time.Minute

var targetGroupARN = regexp.MustCompile(`^arn:aws[a-z-]*:elasticloadbalancing:([a-z0-9-]+):\d{12}:targetgroup/[A-Za-z0-9-]+/[0-9a-z-]+$`)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if len(o.TargetGroups) == 0 {
		fault("targetGroups", "must not be empty")
	}
	seen := map[string]bool{}
	for i, arn := range o.TargetGroups {
		path := fmt.Sprintf("targetGroups[%d]", i)
		switch {
		case !targetGroupARN.MatchString(arn):
			fault(path, "must be the ARN of a target group, such as arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef, not %q", arn)
		case seen[arn]:
			fault(path, "is listed twice")
		}
		seen[arn] = true
	}
	if o.Settle.Duration < 0 || o.Settle.Duration > maxSettle {
		fault("settle", "must be from 0s to %s, not %s", maxSettle, o.Settle.Duration)
	}
	return faults
}

// Region returns the region in the ARN of a target group, "" if the ARN is invalid.
func Region(arn string) string {
	parts := targetGroupARN.FindStringSubmatch(arn)
	if parts == nil {
		return ""
	}
	return parts[1]
}

// Descriptor describes the plugin to the catalog. With a nil API it previews and checks options.
func Descriptor(api API, client kubernetes.Interface, clock clock.WithTicker) cleanup.Descriptor {
	defaults := options{Exclude: true}
	return cleanup.Descriptor{
		Name:           Name,
		Summary:        "deregisters the node from AWS target groups, and waits",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 20 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: api, nodes: nodesOf(client), clock: clock}, nil
		}),
	}
}
