package printer

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// barWidth is the number of characters of a bar.
const barWidth = 10

// Bar returns a progress bar with its numbers, and the object that has been blocked for the
// longest time.
func Bar(counts api.Counts, now time.Time) string {
	filled := 0
	if counts.Total > 0 {
		filled = min(max(counts.Done*barWidth/counts.Total, 0), barWidth)
	}
	bar := fmt.Sprintf("%s%s %d/%d", strings.Repeat("█", filled), strings.Repeat("░", barWidth-filled), counts.Done, counts.Total)
	if counts.Blocked != "" {
		bar += " oldest blocked: " + Clean(counts.Blocked)
		if counts.BlockedSince != nil {
			bar += ", " + Age(now.Sub(counts.BlockedSince.Time))
		}
	}
	return bar
}
