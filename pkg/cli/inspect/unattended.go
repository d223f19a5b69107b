package inspect

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// beginsWithin is how long an agent may take to publish anything about a node.
const beginsWithin = 30 * time.Second

// markUnattended marks the nodes that wait for a cleanup although no agent has published anything about
// them. A pause explains that, and so does another cleanup that runs and takes the slot.
func markUnattended(view *printer.Status) {
	if view.Pause != nil && view.Pause.Cause != printer.UnknownBrake || slices.ContainsFunc(view.Cleanups, func(row printer.CleanupRow) bool {
		return row.State == string(api.Running) || row.State == string(api.Preflight)
	}) {
		return
	}
	for i := range view.Cleanups {
		row := &view.Cleanups[i]
		if row.State != string(api.Pending) || row.Reason != "" || row.Since == nil {
			continue
		}
		if age := view.Time.Sub(row.Since.Time); age > beginsWithin {
			row.Stuck, row.Reason = true, fmt.Sprintf("no agent has acted on the node for %s", printer.Age(age))
		}
	}
}
