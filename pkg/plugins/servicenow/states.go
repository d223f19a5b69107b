package servicenow

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// nextStates are the states that a change can have next:
// https://www.servicenow.com/docs/r/api-reference/rest-apis/change-management-api.html, GET .../nextstates.
type nextStates struct {
	// Available has the current state, too.
	Available []value `json:"available_states"`
	// Labels are the names of the states, by value.
	Labels map[string]string `json:"state_label"`
	// Transitions has the ways to each state. Changes without a change model have none.
	Transitions [][]transition `json:"state_transitions"`
}

type transition struct {
	To         value `json:"to_state"`
	Available  bool  `json:"transition_available"`
	Conditions []struct {
		Passed    bool `json:"passed"`
		Condition struct {
			Name string `json:"name"`
		} `json:"condition"`
	} `json:"conditions"`
}

// move moves a record through the states, from its current one on. It sets the fields with the last state.
func (p *plugin) move(ctx context.Context, r record, states []int, fields map[string]string) (record, error) {
	remaining := states
	for {
		if at, known := r.state(); known {
			remaining = remaining[slices.Index(remaining, at)+1:]
		}
		if len(remaining) == 0 {
			break
		}
		next := remaining[0]
		if p.Record == change {
			if err := p.checkNext(ctx, r, next); err != nil {
				return r, err
			}
		}
		document := map[string]string{"state": strconv.Itoa(next)}
		if len(remaining) == 1 {
			maps.Copy(document, fields)
			fields = nil
		}
		changed, err := p.patch(ctx, r, document)
		if err != nil {
			return r, err
		}
		at, known := changed.state()
		if !known || !slices.Contains(remaining, at) {
			return r, fmt.Errorf("changing %s: ServiceNow left it in state %s instead of %d: check the permissions of the user and the business rules", r.number(), httpclient.OneLine(string(changed.State)), next)
		}
		r = changed // It may already be in a later state: a change model can have automatic transitions.
	}
	if len(fields) == 0 {
		return r, nil
	}
	return p.patch(ctx, r, fields)
}

// checkNext returns an error if the change cannot be moved to the state now. ServiceNow itself would only answer with
// 400 Bad Request. The error is not permanent: an approval or the end of a task can allow it later.
func (p *plugin) checkNext(ctx context.Context, r record, next int) error {
	var answer struct {
		Result nextStates `json:"result"`
	}
	if err := p.call(ctx, http.MethodGet, changePath+string(r.SysID)+"/nextstates", nil, &answer); err != nil {
		return fmt.Errorf("looking up the next states of %s: %w", r.number(), err)
	}
	to := strconv.Itoa(next)
	if !slices.Contains(answer.Result.Available, value(to)) {
		var others []string
		for _, state := range answer.Result.Available {
			if state != r.State {
				others = append(others, answer.Result.label(string(state)))
			}
		}
		return fmt.Errorf("%s cannot change from %s to %s now, only to: %s", r.number(), answer.Result.label(string(r.State)), answer.Result.label(to), strings.Join(others, ", "))
	}
	var failed []string
	for _, ways := range answer.Result.Transitions {
		for _, way := range ways {
			if way.To != value(to) {
				continue
			}
			if way.Available {
				return nil
			}
			for _, condition := range way.Conditions {
				if name := httpclient.OneLine(condition.Condition.Name); !condition.Passed && !slices.Contains(failed, name) {
					failed = append(failed, name)
				}
			}
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%s cannot change from %s to %s now, because a condition is not met: %s", r.number(), answer.Result.label(string(r.State)), answer.Result.label(to), strings.Join(failed, ", "))
	}
	return nil
}

// label returns the name and the value of a state, such as "Implement (-1)".
func (n nextStates) label(state string) string {
	state = httpclient.OneLine(state)
	if name := httpclient.OneLine(n.Labels[state]); name != "" {
		return name + " (" + state + ")"
	}
	return state
}
