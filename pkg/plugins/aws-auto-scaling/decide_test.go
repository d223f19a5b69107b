package awsautoscaling

import (
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		action, states string
		completed      bool
		want           move
		why            string
	}{
		{actionComplete, "Terminating:Wait Warmed:Terminating:Wait", false, act, ""},
		{actionComplete, "Terminating:Wait Terminating:Proceed", true, leave, ""},
		{actionComplete, "Terminating", false, hold, ""},
		{actionComplete, "Terminating:Proceed", false, leave, ""},
		{actionComplete, "Terminating:Retained Warmed:Terminating:Retained", false, refuse, "terminate-instance-in-auto-scaling-group"},
		{actionComplete, "Terminating:Retained", true, refuse, "retains"},
		{actionComplete, "InService", false, finish, "no lifecycle action waits, because the instance is InService"},
		{actionComplete, "Standby Pending:Wait Detaching EnteringStandby Quarantined", false, finish, "no lifecycle action waits"},
		{actionDetach, "InService Standby", false, act, ""},
		{actionDetach, "Detaching", false, leave, ""},
		{actionDetach, "Pending Pending:Wait EnteringStandby ReplacingRootVolume:Wait Warmed:Running", false, hold, ""},
		{actionDetach, "Terminating Terminating:Wait Terminating:Proceed Terminating:Retained", false, finish, "cannot be detached"},
		{actionTerminate, "InService Standby Pending Terminating:Retained", false, act, ""},
		{actionTerminate, "Terminating Terminating:Wait Terminating:Proceed", false, leave, ""},
		{actionTerminate, "Detaching", false, hold, ""},
	} {
		for _, state := range strings.Fields(test.states) {
			if got, why := decide(test.action, state, test.completed); got != test.want || why == "" || !strings.Contains(why, test.why) {
				t.Errorf("%s of an instance that is %s (completed %t): %v, %q", test.action, state, test.completed, got, why)
			}
		}
	}
	for _, action := range []string{actionComplete, actionDetach, actionTerminate} {
		for _, state := range []string{absent, terminated, detached, "Warmed:Terminated"} {
			if got, why := decide(action, state, false); got != finish || why == "" {
				t.Errorf("%s of an instance that is %q: %v, %q", action, state, got, why)
			}
		}
	}
}
