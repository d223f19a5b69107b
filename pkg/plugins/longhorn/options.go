// Package longhorn is the plugin that has Longhorn move the replicas and backing images of a Node to other Nodes.
package longhorn

import (
	_ "embed"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

//go:embed schema.json
var schema []byte

// options are the options of the plugin. The step's timeout limits the wait.
type options struct {
	// Namespace is the namespace of Longhorn.
	Namespace string `json:"namespace"`
	// HealthyElsewhere lets data stay on the Node that Longhorn cannot move: a replica, if its volume has healthy
	// replicas on so many other Nodes, and a backing image, if one other Node has a copy. Only Nodes count that are
	// ready, and whose replicas are not being moved away. With 0, all data must be moved. A host that is down
	// needs at least 1.
	HealthyElsewhere int `json:"healthyElsewhere"`
	// HealthyElsewhereAfter is the time that Longhorn has to move the data before `healthyElsewhere` applies. If the
	// host is down, it applies immediately.
	HealthyElsewhereAfter metav1.Duration `json:"healthyElsewhereAfter"`
}

// maxCopies is the largest number of replicas that Longhorn allows for a volume: see ValidateReplicaCount in
// https://github.com/longhorn/longhorn-manager/blob/master/types/types.go.
const maxCopies = 20

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		fault("namespace", "is not a valid name of a namespace: %s", problems[0])
	}
	if o.HealthyElsewhere < 0 || o.HealthyElsewhere > maxCopies {
		fault("healthyElsewhere", "must be from 0 to %d, not %d", maxCopies, o.HealthyElsewhere)
	}
	if o.HealthyElsewhereAfter.Duration < 0 {
		fault("healthyElsewhereAfter", "must not be negative")
	}
	return faults
}

// Descriptor describes the plugin.
func Descriptor(client kubernetes.Interface, clock clock.Clock) cleanup.Descriptor {
	defaults := options{Namespace: "longhorn-system", HealthyElsewhereAfter: metav1.Duration{Duration: 10 * time.Minute}}
	return cleanup.Descriptor{
		Name:           "longhorn",
		Summary:        "has Longhorn move the data of the node to other nodes",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 2 * time.Hour},
		BeforeDrain:    "a drain evicts the Pods that copy the data to other nodes",
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: api{client: client, namespace: o.Namespace}, client: client, clock: clock}, nil
		}),
	}
}
