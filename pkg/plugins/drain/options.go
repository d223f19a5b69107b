// Package drain is the plugin that drains a Node: it cordons the Node, evicts its Pods by the eviction
// API, which respects their budgets, and waits until they are deleted.
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
	// AllowUnmanaged evicts Pods without a controller, which nothing creates again.
	AllowUnmanaged bool `json:"allowUnmanaged"`
	// AllowEmptyDirData evicts Pods with emptyDir volumes, whose data is lost.
	AllowEmptyDirData bool `json:"allowEmptyDirData"`
	// GracePeriodSeconds overrides the grace period of each Pod; nil keeps it.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds"`
	// ForceAfter is how long budgets are respected, from the first attempt on. After that, the drain
	// deletes the remaining Pods. 0 means always.
	ForceAfter metav1.Duration `json:"forceAfter"`
	// Rules for certain Pods. The first that selects a Pod applies.
	Rules []podRule `json:"rules"`
	// DaemonSets is leave or evictLast.
	DaemonSets daemonSets `json:"daemonSets"`
	// API is how evictions are requested: auto, eviction, or evictionRequest.
	API evictionAPI `json:"api"`
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
	return cleanup.Descriptor{
		Name:     api.DrainPlugin,
		Summary:  "cordons the node, evicts its pods and waits until they are deleted",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Minute},
		Options:  cleanup.OptionNames[options](),
		Bind: cleanup.Options(options{AllowEmptyDirData: true, API: auto, DaemonSets: leaveDaemons}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: client, clock: clock, limiter: limiter}, nil
		}),
	}
}
