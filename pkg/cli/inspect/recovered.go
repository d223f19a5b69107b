package inspect

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// RecoveredReason describes a cleanup that is about to start by itself.
const RecoveredReason = "not started at the last attempt, because a critical step was unhealthy. It is healthy now, and the agent tries again within a minute"

// Recovered reports whether the cleanup of this record is about to start by itself: every step that kept it from
// starting has passed a later health check, and an agent is able to try again. The record may be nil.
func (s *Snapshot) Recovered(run *api.Run) bool {
	return s.Absence().none() && len(s.MissingGrants) == 0 && recovered(run, s.Status)
}

// recovered reports whether every step that kept a cleanup from starting has passed a later health check. Both
// may be nil. The time of a health check has no fractions of a second, so a check in the second of the attempt
// does not count.
func recovered(run *api.Run, status *api.AgentStatus) bool {
	if run == nil || status == nil || run.State != api.Blocked || run.CheckAgainAt == nil {
		return false
	}
	unhealthy, is := strings.CutPrefix(run.Message, api.NotStarted)
	if !is {
		return false
	}
	unhealthy = "; " + unhealthy
	tried, passed := run.CheckAgainAt.Add(-api.CheckAgainAfter), 0
	for _, plugin := range status.Plugins {
		if !strings.Contains(unhealthy, fmt.Sprintf("; step %s (%s): ", plugin.Step, plugin.Plugin)) {
			continue
		}
		if plugin.CheckedAt == nil || !plugin.CheckedAt.After(tried) || Plugin(plugin).Error != "" {
			return false
		}
		passed++
	}
	return passed == strings.Count(unhealthy, "; step ")
}
