package printer

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Bypass is a mark on a live node: when the node is deleted, it is released without cleanup.
type Bypass struct {
	Node string `json:"node"`
	// By is the user who set the bypass, if the annotations name one.
	By     string       `json:"by,omitempty"`
	Until  *metav1.Time `json:"until,omitempty"`
	Reason string       `json:"reason,omitempty"`
}

// Line describes the bypass with its user, its end and its reason.
func (b *Bypass) Line() string {
	bypass := api.Bypass{Reason: b.Reason, By: b.By}
	if b.Until != nil {
		bypass.Until = b.Until.Time
	}
	return "a deletion of the node would release it without cleanup: " + bypass.String()
}

// maxBypasses is how many marks the status shows.
const maxBypasses = 3

// bypasses writes the first marks, a line for each.
func (s *Status) bypasses(text *Text) {
	for _, bypass := range s.Bypasses[:min(len(s.Bypasses), maxBypasses)] {
		text.Line("Bypass marked on node %s: %s", bypass.Node, bypass.Line())
	}
	if more := len(s.Bypasses) - maxBypasses; more > 0 {
		text.Line("Bypass marked on %s: kubectl nodecleanup nodes list", api.Count(more, "more node"))
	}
}
