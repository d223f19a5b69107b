// Package drain is the plugin that drains a Node: it cordons the Node, evicts its Pods by the eviction
// API, which respects their budgets, and waits until they are deleted.
package drain

import (
	_ "embed"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

//go:embed schema.json
var schema []byte

type options struct {
	// AllowUnmanaged evicts Pods without a controller. No controller creates them again on another
	// Node.
	AllowUnmanaged bool `json:"allowUnmanaged"`
	// AllowEmptyDirData evicts Pods with an emptyDir volume. Its data is lost, as it would be with
	// the Node. The agent's log and a dry run list each such Pod.
	AllowEmptyDirData bool `json:"allowEmptyDirData"`
	// GracePeriodSeconds is the grace period of the Pods. Without it, each Pod has its own.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds" jsonschema:"minimum=1"`
	// ForceAfter is how long the drain respects budgets, from the first attempt. After that, it
	// deletes the Pods that a budget blocks. Without it, the drain always respects budgets. A
	// restart of the agent does not restart this time. `kubectl nodecleanup retry`, and a drain
	// that runs again before the release, restart it.
	ForceAfter metav1.Duration `json:"forceAfter"`
	// Rules are what to do with certain Pods. The first rule that selects a Pod applies.
	Rules []podRule `json:"rules"`
	// DaemonSets is what to do with the Pods of DaemonSets. `leave` leaves them on the Node.
	// `evictLast` evicts each once, after all other Pods except the agent.
	DaemonSets daemonSets `json:"daemonSets" jsonschema:"enum=leave,enum=evictLast"`
	// API is how the drain requests evictions: through the eviction subresource, or by EvictionRequests.
	API evictionAPI `json:"api" jsonschema:"enum=auto,enum=eviction,enum=evictionRequest"`
}

// daemonSets is the drain's action for the Pods of DaemonSets.
type daemonSets string

const (
	leaveDaemons daemonSets = "leave"
	// evictLast evicts each of them once, for a graceful end. Their controller creates them again.
	evictLast daemonSets = "evictLast"
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < shortest {
		// 0 would delete Pods from the API before their containers have ended.
		faults = append(faults, cleanup.OptionError{Path: "gracePeriodSeconds", Problem: "must be at least 1"})
	}
	if o.ForceAfter.Duration < 0 {
		faults = append(faults, cleanup.OptionError{Path: "forceAfter", Problem: "must not be negative"})
	}
	if !slices.Contains([]evictionAPI{auto, subresource, evictionRequest}, o.API) {
		faults = append(faults, cleanup.OptionError{Path: "api", Problem: fmt.Sprintf("is %q, must be auto, eviction, or evictionRequest", o.API)})
	}
	if !slices.Contains([]daemonSets{leaveDaemons, evictLast}, o.DaemonSets) {
		faults = append(faults, cleanup.OptionError{Path: "daemonSets", Problem: fmt.Sprintf("is %q, must be leave or evictLast", o.DaemonSets)})
	}
	for i := range o.Rules {
		faults = append(faults, o.Rules[i].validate(fmt.Sprintf("rules[%d]", i))...)
	}
	return faults
}

// Descriptor describes the plugin. The limiter bounds the evictions of all its steps
// together; nil has no limit.
func Descriptor(client kubernetes.Interface, clock clock.WithTicker, limiter *Limiter) cleanup.Descriptor {
	defaults := options{AllowEmptyDirData: true, API: auto, DaemonSets: leaveDaemons}
	return cleanup.Descriptor{
		Name:           api.DrainPlugin,
		Summary:        "cordons the node, evicts its pods and waits until they are deleted",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 30 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: client, clock: clock, limiter: limiter}, nil
		}),
	}
}
