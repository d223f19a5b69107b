package awsautoscaling

import (
	"fmt"
	"strings"
)

// The lifecycle states that decide. absent is that of an instance without a group.
const (
	absent      = ""
	inService   = "InService"
	standby     = "Standby"
	terminating = "Terminating"
	waiting     = "Terminating:Wait"
	retained    = "Terminating:Retained"
	terminated  = "Terminated"
	detaching   = "Detaching"
	detached    = "Detached"
)

// move is what the step does next.
type move int

const (
	// finish: nothing remains to be done, now or later.
	finish move = iota
	// act: send the request.
	act
	// leave: the request is accepted; the group still has the instance.
	leave
	// hold: no request is possible in this state, which ends by itself.
	hold
	// refuse: no request of this action is possible, and the state does not end by itself.
	refuse
)

// decide returns what a step with this action does for an instance in this lifecycle state, and why. completed means that
// the lifecycle action of the hook is completed.
func decide(action, state string, completed bool) (move, string) {
	// Instances of a warm pool have the same states with a prefix.
	state = strings.TrimPrefix(state, "Warmed:")
	ends := strings.HasPrefix(state, terminating)
	switch {
	case state == absent, state == terminated, state == detached:
		return finish, "no Auto Scaling group has the instance"
	case action == actionComplete && state == waiting && !completed:
		return act, "the group waits for the cleanup"
	case action == actionComplete && state == terminating:
		return hold, "waiting until the group runs its lifecycle hooks"
	case action == actionComplete && state == retained:
		return refuse, "the group retains the instance, because a lifecycle hook was abandoned or timed out. " +
			"Next: use action Terminate, or terminate the instance with aws autoscaling terminate-instance-in-auto-scaling-group"
	case action == actionComplete && ends:
		return leave, "the group terminates the instance"
	case action == actionComplete:
		return finish, fmt.Sprintf("no lifecycle action waits, because the instance is %s. The group does not terminate it", state)
	case action == actionDetach && (state == inService || state == standby):
		return act, "the instance is " + state
	case action == actionDetach && state == detaching:
		return leave, "the group detaches the instance"
	case action == actionDetach && ends:
		return finish, fmt.Sprintf("the group terminates the instance already (%s), so it cannot be detached", state)
	case action == actionDetach:
		return hold, fmt.Sprintf("waiting until the instance is %s or %s, now %s", inService, standby, state)
	case state == detaching:
		return hold, "waiting until the group has detached the instance"
	case ends && state != retained:
		return leave, fmt.Sprintf("the group terminates the instance (%s)", state)
	}
	return act, "the instance is " + state
}
