package webhookplugin

import (
	"encoding/json"
	"errors"
	"fmt"
)

// State of the work, in an Answer.
type State string

// The states.
const (
	// StateDone: the work is done.
	StateDone State = "Done"
	// StateInProgress: the service works on. The agent sends the request again.
	StateInProgress State = "InProgress"
	// StateFailed: the work failed. The agent retries as the config says, unless the failure is
	// permanent.
	StateFailed State = "Failed"
)

// Answer is the answer to a POST of CleanupPath, with status 200.
type Answer struct {
	State State `json:"state"`
	// Message says in a few words what the service waits for, or why it failed. Operators see it. It
	// must not contain secrets, and should be the same as long as the situation is.
	Message string `json:"message,omitempty"`
	// Progress in numbers, with StateInProgress.
	Progress *Progress `json:"progress,omitempty"`
	// RetryAfterSeconds is the wait before the next request. With StateInProgress, the agent waits from
	// 1 second to 5 minutes, and 5 seconds if it is missing. With StateFailed, it is the minimum wait
	// before the next attempt.
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
	// Permanent says that no retry can succeed, with StateFailed.
	Permanent bool `json:"permanent,omitempty"`
	// Outputs are small named values, such as the number of a ticket. The agent stores them in the run
	// record, and sends them with later requests.
	Outputs map[string]string `json:"outputs,omitempty"`
}

// Progress of the work in numbers. Total can grow.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// Done returns the answer of completed work.
func Done(outputs map[string]string) Answer { return Answer{State: StateDone, Outputs: outputs} }

// InProgress returns the answer of unfinished work. The agent asks again after that many seconds.
func InProgress(message string, retryAfterSeconds int) Answer {
	return Answer{State: StateInProgress, Message: message, RetryAfterSeconds: retryAfterSeconds}
}

// Failed returns the answer of failed work, which the agent retries.
func Failed(message string) Answer { return Answer{State: StateFailed, Message: message} }

// FailedPermanently returns the answer of failed work that the agent does not retry.
func FailedPermanently(message string) Answer {
	return Answer{State: StateFailed, Message: message, Permanent: true}
}

// Validate returns the fault of an answer, or nil.
func (a Answer) Validate() error {
	switch a.State {
	case StateDone, StateInProgress, StateFailed:
	case "":
		return errors.New("state is missing")
	default:
		return fmt.Errorf("state is %.20q, not %s, %s or %s", a.State, StateDone, StateInProgress, StateFailed)
	}
	if a.RetryAfterSeconds < 0 {
		return fmt.Errorf("retryAfterSeconds is %d", a.RetryAfterSeconds)
	}
	if a.Progress != nil && (a.Progress.Done < 0 || a.Progress.Total < a.Progress.Done) {
		return fmt.Errorf("progress is %d of %d", a.Progress.Done, a.Progress.Total)
	}
	return nil
}

// PreviewAnswer is the answer to a POST of PreviewPath, with status 200.
type PreviewAnswer struct {
	// Effects that a cleanup would have now. The agent shows the first 50.
	Effects []Effect `json:"effects"`
}

// Effect is one change that a cleanup would make.
type Effect struct {
	// Action is an imperative with a capital letter, such as "Delete".
	Action string `json:"action"`
	// Object that the effect changes, if there is one.
	Object *Object `json:"object,omitempty"`
	// Reason in a few words.
	Reason string `json:"reason,omitempty"`
	// Blocked says why the effect is not possible now.
	Blocked *Blocked `json:"blocked,omitempty"`
}

// Object names an object: of Kubernetes, or of another system, such as kind "Ticket" and name "CHG-1".
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Blocked describes what blocks an effect.
type Blocked struct {
	Message string `json:"message"`
	// Remedy is what an operator can do.
	Remedy string `json:"remedy,omitempty"`
}

// Validate returns the fault of an answer, or nil.
func (a PreviewAnswer) Validate() error {
	if a.Effects == nil {
		return errors.New("effects is missing")
	}
	for i, effect := range a.Effects {
		switch {
		case effect.Action == "":
			return fmt.Errorf("effects[%d].action is missing", i)
		case effect.Object != nil && (effect.Object.Kind == "" || effect.Object.Name == ""):
			return fmt.Errorf("effects[%d].object lacks kind or name", i)
		case effect.Blocked != nil && effect.Blocked.Message == "":
			return fmt.Errorf("effects[%d].blocked.message is missing", i)
		}
	}
	return nil
}

// VerifyAnswer is the answer to a POST of VerifyPath, with status 200.
type VerifyAnswer struct {
	// Undone is empty if the work of an earlier cleanup still holds. Otherwise it describes in a few
	// words what is no longer done, and the agent requests the cleanup again.
	Undone *string `json:"undone"`
}

// Validate returns the fault of an answer, or nil. An answer without the field proves nothing.
func (a VerifyAnswer) Validate() error {
	if a.Undone == nil {
		return errors.New("undone is missing")
	}
	return nil
}

// Problem is the body of a response with a status that is not a success, and of an answer to a GET of
// HealthPath.
type Problem struct {
	// Message says in a few words why, without secrets.
	Message string `json:"message,omitempty"`
}

// Validate returns nil: the status of the response decides, not its body.
func (p Problem) Validate() error { return nil }

// Decode reads an answer and validates it. The text of its error can quote the answer.
func Decode[A interface{ Validate() error }](data []byte) (A, error) {
	var answer A
	if len(data) > MaxAnswer {
		return answer, fmt.Errorf("it is larger than %d KiB", MaxAnswer>>10)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("it is not valid JSON of this protocol: %w", err)
	}
	return answer, answer.Validate()
}
