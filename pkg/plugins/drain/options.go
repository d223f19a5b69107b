// Package drain is the plugin that moves the pods off a Node: it cordons the
// Node, evicts its pods through the eviction API so that their budgets are
// respected, and waits until they are gone.
package drain

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type options struct {
	// AllowUnmanaged evicts pods that no controller will make again elsewhere.
	AllowUnmanaged bool `json:"allowUnmanaged"`
	// AllowEmptyDirData evicts pods although what is in their emptyDir volumes is lost.
	AllowEmptyDirData bool `json:"allowEmptyDirData"`
	// GracePeriodSeconds replaces each pod's own; nil leaves it.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds"`
	// ForceAfter is how long budgets are respected, from the beginning of the
	// first attempt. Pods that are left then are deleted without asking. 0 is for ever.
	ForceAfter metav1.Duration `json:"forceAfter"`
	// Rules say what is done about some Pods. The first that chooses a Pod applies.
	Rules []podRule `json:"rules"`
	// DaemonSets is leave or evictLast.
	DaemonSets daemonSets `json:"daemonSets"`
	// API is how evictions are asked for: auto, eviction, or evictionRequest.
	API evictionAPI `json:"api"`
}

// daemonSets is what the drain does about the Pods of DaemonSets.
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
		// 0 would take pods out of the API before their containers have ended.
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
	return cleanup.Descriptor{
		Name:     api.DrainPlugin,
		Summary:  "cordons the node, evicts its pods and waits until they are deleted",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Minute},
		Bind: cleanup.Options(options{AllowEmptyDirData: true, API: auto, DaemonSets: leaveDaemons}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: client, clock: clock, limiter: limiter}, nil
		}),
	}
}
