package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RecordError reports a run record that this version cannot decode.
type RecordError struct {
	// Record names the ConfigMap.
	Record string
	Err    error
}

// Error returns which record it is, and the cause.
func (e *RecordError) Error() string {
	return fmt.Sprintf("decoding run record %s: %v", e.Record, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// VersionError reports a run record of another version than RunVersion. An agent of that
// version can decode it.
type VersionError struct{ Version string }

// Error returns both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("version %q is not %s", e.Version, RunVersion)
}

// ReadRun reads a run record to show it. It is DecodeRun without one check: a newer version may
// have written a state that this version does not know. UnknownStates returns these.
func ReadRun(configMap *corev1.ConfigMap) (*Run, error) {
	run := &Run{}
	if err := run.read(configMap); err != nil {
		return nil, &RecordError{Record: configMap.Name, Err: err}
	}
	return run, nil
}

// ReadRunOf is ReadRun for the record of one Node. A record that names another UID is an error.
func ReadRunOf(configMap *corev1.ConfigMap, uid types.UID) (*Run, error) {
	run, err := ReadRun(configMap)
	if err == nil && run.NodeUID != uid {
		return nil, &RecordError{Record: configMap.Name, Err: fmt.Errorf("it is about node UID %s, not %s", run.NodeUID, uid)}
	}
	return run, err
}

func (r *Run) read(configMap *corev1.ConfigMap) error {
	data, found := configMap.Data[RunKey]
	if !found {
		return fmt.Errorf("key %s is missing", RunKey)
	}
	var of struct {
		Version string `json:"version"`
	}
	// First, because another version may have other types, too.
	switch err := json.Unmarshal([]byte(data), &of); {
	case err != nil:
		return err
	case of.Version == "":
		return errors.New("it has no version")
	case of.Version != RunVersion:
		return &VersionError{of.Version}
	}
	if err := json.Unmarshal([]byte(data), r); err != nil {
		return err
	}
	return r.check()
}

// Known reports whether this version knows the state.
func (s State) Known() bool {
	return slices.Contains([]State{Pending, Preflight, Running, Waiting, Blocked, Failed, Bypassed, Canceled, Succeeded}, s)
}

// Known reports whether this version knows the state.
func (s StepState) Known() bool {
	return slices.Contains([]StepState{StepPending, StepRunning, StepRetrying, StepSucceeded, StepFailed, StepSkipped}, s)
}

// UnknownStates returns the states in the record that this version does not know, with the names
// of their steps. A newer version wrote them.
func (r *Run) UnknownStates() []string {
	var unknown []string
	if !r.State.Known() {
		unknown = append(unknown, fmt.Sprintf("state %s", r.State))
	}
	for _, step := range r.Steps {
		if !step.State.Known() {
			unknown = append(unknown, fmt.Sprintf("state %s of step %s", step.State, step.Name))
		}
	}
	return unknown
}

// RunNode returns the name of the node that a run record is about, by the name of its
// ConfigMap: for a record that cannot be decoded. A long name is cut, as RunName cuts it. It is
// empty if the ConfigMap is not named as a run record.
func RunNode(configMap *corev1.ConfigMap) string {
	uid := configMap.Labels[LabelNodeUID]
	if len(uid) > 8 {
		uid = uid[:8]
	}
	name, named := strings.CutPrefix(configMap.Name, "run-")
	node, ends := strings.CutSuffix(name, "-"+uid)
	if !named || !ends || uid == "" {
		return ""
	}
	return node
}
