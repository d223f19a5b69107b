package api

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// RunKey is the key of a run record in its ConfigMap.
const RunKey = "run.json"

// RunVersion is the version of the run record's JSON.
const RunVersion = "nodecleanup.io/v1alpha1"

// Run is the record of one execution of a plan for one Node UID. It outlives the Node.
type Run struct {
	Version string `json:"version"`
	// Node and NodeUID identify the Node of the run. Only the UID is unique.
	Node    string    `json:"node"`
	NodeUID types.UID `json:"nodeUID"`
	// ConfigHash and PlanHash name the config and the steps that the run began with.
	ConfigHash string `json:"configHash"`
	PlanHash   string `json:"planHash"`
	DryRun     bool   `json:"dryRun,omitempty"`

	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
	// DeadlinePassed means that the cleanup exceeded the configured deadline and that the agent
	// has reported it.
	DeadlinePassed bool `json:"deadlinePassed,omitempty"`
	// BypassReason is the operator's reason if State is Bypassed.
	BypassReason string `json:"bypassReason,omitempty"`
	// BypassedBy is the operator's name. BypassedByVerified means that the admission policy
	// accepted only the name of the user who sent the request.
	BypassedBy         string `json:"bypassedBy,omitempty"`
	BypassedByVerified bool   `json:"bypassedByVerified,omitempty"`

	// CheckAgainAt is when a blocked cleanup looks again whether it may begin.
	CheckAgainAt *metav1.MicroTime `json:"checkAgainAt,omitempty"`

	// CleanupRequestedAt is the request that began the cleanup of a Node that was
	// not deleted, empty for a deletion.
	CleanupRequestedAt string `json:"cleanupRequestedAt,omitempty"`
	// RequestedPlan is the hash of the only plan that the run may have, which the agent compares
	// when the run begins. It is empty for any plan.
	RequestedPlan string `json:"requestedPlan,omitempty"`
	// Refused: the agent canceled the cleanup because its plan is not RequestedPlan.
	Refused bool `json:"refused,omitempty"`
	// RequestedBy is the user who deleted the Node or requested its cleanup. It is empty if the
	// user is unknown.
	RequestedBy string `json:"requestedBy,omitempty"`
	// RequestedByVerified means that the API server named RequestedBy and authenticated by a
	// client certificate, or that the admission policy accepted only the name of the user who sent
	// the request.
	RequestedByVerified bool `json:"requestedByVerified,omitempty"`
	// BreakGlassReason is the reason of the operator who deleted the Node although the delete
	// guard would have denied it.
	BreakGlassReason string `json:"breakGlassReason,omitempty"`

	// Host is the machine that the kubelet of the Node reported when the cleanup began.
	Host *Host `json:"host,omitempty"`
	// HostDifference is how the machine differs from that, once the Node is held for it.
	HostDifference string `json:"hostDifference,omitempty"`

	// Notifications are the notifications of the config with a nodeSelector that matches the Node, each as its
	// name, "/" and a hash of that selector.
	Notifications []string `json:"notifications,omitempty"`

	DeletionRequestedAt *metav1.Time `json:"deletionRequestedAt,omitempty"`
	StartedAt           metav1.Time  `json:"startedAt"`
	FinishedAt          *metav1.Time `json:"finishedAt,omitempty"`
	// RetryRequestedAt is the newest retry request that this run has honoured.
	RetryRequestedAt string `json:"retryRequestedAt,omitempty"`
	// RetryRequestedBy is the user who requested the retry. It is empty if the user is unknown.
	// RetryRequestedByVerified is like BypassedByVerified.
	RetryRequestedBy         string `json:"retryRequestedBy,omitempty"`
	RetryRequestedByVerified bool   `json:"retryRequestedByVerified,omitempty"`

	Steps []StepRun `json:"steps"`

	unknown unknownFields
}

// StepState is the state of one step of a run.
type StepState string

// The states of a step.
const (
	StepPending   StepState = "Pending"
	StepRunning   StepState = "Running"
	StepRetrying  StepState = "Retrying"
	StepSucceeded StepState = "Succeeded"
	StepFailed    StepState = "Failed"
	StepSkipped   StepState = "Skipped"
)

// Done reports whether the step will not run again by itself.
func (s StepState) Done() bool {
	return s == StepSucceeded || s == StepFailed || s == StepSkipped
}

// StepRun is the record of one step.
type StepRun struct {
	Name     string    `json:"name"`
	Plugin   string    `json:"plugin"`
	Critical bool      `json:"critical"`
	State    StepState `json:"state"`
	// Attempts counts the started calls of the plugin.
	Attempts int `json:"attempts,omitempty"`
	// Failures counts the calls that ended in an error. A call that a restart interrupted counts
	// only in Attempts.
	Failures int `json:"failures,omitempty"`
	// Progress is the newest progress text of the plugin.
	Progress string `json:"progress,omitempty"`
	// Counts are the progress of the running step, if its plugin reports counts.
	Counts *Counts `json:"counts,omitempty"`
	// Reason is the cause if a step was skipped, or if it ran again after it had succeeded.
	Reason string `json:"reason,omitempty"`
	// LastError is the error of the newest attempt that failed; it holds no secret.
	LastError string `json:"lastError,omitempty"`
	// Outputs are the values that the plugin recorded for later attempts and later steps, by name. They
	// hold no secret.
	Outputs map[string]string `json:"outputs,omitempty"`
	// Effects are the effects that a dry run found for the step.
	Effects []Effect `json:"effects,omitempty"`
	// Preview is the same in lines, of earlier agents. It is only read: see Would.
	Preview    []string     `json:"preview,omitempty"`
	StartedAt  *metav1.Time `json:"startedAt,omitempty"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// NextAttemptAt is when a failed attempt is repeated, never earlier: full
	// seconds would be.
	NextAttemptAt *metav1.MicroTime `json:"nextAttemptAt,omitempty"`

	unknown unknownFields
}

// Counts are the progress of a step in numbers.
type Counts struct {
	// Done of Total, such as the Pods of a drain. Total can grow.
	Done  int `json:"done"`
	Total int `json:"total"`
	// Blocked names the object that has been blocked for the longest time, such as "shop/cart-0",
	// and BlockedSince the start.
	Blocked      string       `json:"blocked,omitempty"`
	BlockedSince *metav1.Time `json:"blockedSince,omitempty"`
}

// Step returns the named step of the run, or nil.
func (r *Run) Step(name string) *StepRun {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	return nil
}

// RunName returns the name of the ConfigMap with the run record of a Node UID:
// "run-<node>-<first 8 characters of the UID>". A node name can be as long as
// an object name may be, so it is cut to leave room.
func RunName(node string, uid types.UID) string {
	short := string(uid)
	if len(short) > 8 {
		short = short[:8]
	}
	const extra = len("run-") + len("-") + 8
	if room := validation.DNS1123SubdomainMaxLength - extra; len(node) > room {
		node = strings.TrimRight(node[:room], ".-")
	}
	return "run-" + node + "-" + short
}

// EncodeRun returns the ConfigMap that holds the run record, in a namespace. Its size depends on
// the steps. An error means a value that JSON cannot hold.
func EncodeRun(namespace string, run *Run) (*corev1.ConfigMap, error) {
	run.Version = RunVersion
	data, err := json.Marshal(run)
	if err != nil {
		return nil, fmt.Errorf("encoding the run record of node %s: %w", run.Node, err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      RunName(run.Node, run.NodeUID),
			Labels: map[string]string{
				LabelName:    LabelNameValue,
				LabelRun:     "true",
				LabelNodeUID: string(run.NodeUID),
			},
		},
		Data: map[string]string{RunKey: string(data)},
	}, nil
}

// DecodeRun reads a run record to decide by it. Fields that this version does not know are
// preserved and ignored: within RunVersion, versions only add fields that change no decision
// of an older agent. Another version, and a state that this version does not know, are errors:
// a record that is not understood must not release a Node. To show a record, use ReadRun.
func DecodeRun(configMap *corev1.ConfigMap) (*Run, error) {
	run, err := ReadRun(configMap)
	if err != nil {
		return nil, err
	}
	if unknown := run.UnknownStates(); len(unknown) > 0 {
		return nil, &RecordError{Record: configMap.Name, Err: fmt.Errorf("this version does not know %s", strings.Join(unknown, ", "))}
	}
	return run, nil
}

// check returns an error for values that no version writes: a user has edited the record.
func (r *Run) check() error {
	switch {
	case r.Node == "" || r.NodeUID == "":
		return fmt.Errorf("it names no node")
	case r.State == "":
		return fmt.Errorf("it has no state")
	}
	for _, step := range r.Steps {
		switch {
		case step.State == "":
			return fmt.Errorf("step %s: it has no state", step.Name)
		case step.State == StepRetrying && step.NextAttemptAt == nil:
			return fmt.Errorf("step %s: it is Retrying and has no nextAttemptAt", step.Name)
		}
	}
	return nil
}
