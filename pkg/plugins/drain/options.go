// Package drain is the plugin that moves the pods off a Node: it cordons the
// Node, evicts its pods through the eviction API so that their budgets are
// respected, and waits until they are gone.
package drain

import (
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type options struct {
	// AllowUnmanaged evicts pods that no controller will make again elsewhere.
	AllowUnmanaged bool `json:"allowUnmanaged"`
	// AllowEmptyDirData evicts pods although what is in their emptyDir volumes is lost.
	AllowEmptyDirData bool `json:"allowEmptyDirData"`
	// GracePeriodSeconds replaces each pod's own; nil leaves it.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < 1 {
		// 0 would take pods out of the API before their containers have ended.
		return []error{cleanup.OptionError{Path: "gracePeriodSeconds", Problem: "must be at least 1"}}
	}
	return nil
}

// Descriptor describes the plugin.
func Descriptor(client kubernetes.Interface, clock clock.WithTicker) cleanup.Descriptor {
	return cleanup.Descriptor{
		Name:     "drain",
		Summary:  "cordons the node, evicts its pods and waits until they are gone",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Minute},
		Bind: cleanup.Options(options{AllowEmptyDirData: true}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: client, clock: clock}, nil
		}),
	}
}
