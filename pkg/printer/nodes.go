package printer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// NodeList is the view of every node: protected or not, and where its cleanup stands.
type NodeList struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Time       metav1.Time `json:"time"`
	Nodes      []Node      `json:"nodes"`
}

// Node is one node.
type Node struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Protected: deleted, it is kept until its cleanup is done.
	Protected bool `json:"protected"`
	// Bypass is marked on a live node, which is not protected then.
	Bypass *Bypass `json:"bypass,omitempty"`
	// Unprotected is why the node lacks the finalizer, empty if it has it or that is not known.
	Unprotected string `json:"unprotected,omitempty"`
	Cordoned    bool   `json:"cordoned,omitempty"`
	// State of its cleanup; empty while there is none.
	State   string      `json:"state,omitempty"`
	Stuck   bool        `json:"stuck,omitempty"`
	Step    string      `json:"step,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	Created metav1.Time `json:"created"`
	// Since the cleanup began.
	Since *metav1.Time `json:"since,omitempty"`
}

// NewNodeList returns an empty view.
func NewNodeList(now time.Time) *NodeList {
	return &NodeList{APIVersion: APIVersion, Kind: "NodeList", Time: metav1.NewTime(now), Nodes: []Node{}}
}

// Text writes a row for each node.
func (l *NodeList) Text(text *Text) { l.write(text, false) }

// Wide writes UID, cordon and reason too.
func (l *NodeList) Wide(text *Text) { l.write(text, true) }

func (l *NodeList) write(text *Text, wide bool) {
	head := Cells("NODE", "PROTECTED", "STATE", "STEP", "AGE")
	if wide {
		head = append(head, Cells("CORDONED", "CLEANING", "UID", "REASON")...)
	}
	rows := [][]Cell{head}
	for _, node := range l.Nodes {
		protected, state := Cell{Text: yesNo(node.Protected)}, Cell{Text: OrDash(node.State)}
		if !node.Protected {
			protected.Tone = Warn
		}
		reason := node.Reason
		if node.Bypass != nil {
			protected.Text = "bypass"
			reason = strings.TrimPrefix(reason+"; "+node.Bypass.Line(), "; ")
		}
		if node.Unprotected != "" {
			reason = strings.TrimPrefix(reason+"; not protected: "+node.Unprotected, "; ")
		}
		if node.Stuck {
			state.Tone = Bad
		}
		row := []Cell{{Text: node.Name}, protected, state, {Text: OrDash(node.Step)}, {Text: Age(l.Time.Sub(node.Created.Time))}}
		if wide {
			since := ""
			if node.Since != nil {
				since = Age(l.Time.Sub(node.Since.Time))
			}
			row = append(row, Cells(yesNo(node.Cordoned), OrDash(since), node.UID, OrDash(reason))...)
		}
		rows = append(rows, row)
	}
	text.Table(rows)
	if wide {
		return
	}
	for _, node := range l.Nodes {
		if node.Bypass != nil {
			text.Line("Note: node %s: %s", node.Name, node.Bypass.Line())
		}
	}
	l.unprotected(text)
}

// fewNodes is how many nodes a note names.
const fewNodes = 3

// unprotected writes why nodes are not protected, a line for each reason.
func (l *NodeList) unprotected(text *Text) {
	var reasons []string
	by := map[string][]string{}
	for _, node := range l.Nodes {
		if node.Protected || node.Bypass != nil || node.State != "" && node.Unprotected == "" {
			continue // A node with a state was protected.
		}
		reason := cmp.Or(node.Unprotected, "kubectl nodecleanup check says why")
		if by[reason] == nil {
			reasons = append(reasons, reason)
		}
		by[reason] = append(by[reason], node.Name)
	}
	for _, reason := range reasons {
		names := by[reason]
		if len(names) == 1 {
			text.Line("Note: node %s is not protected: %s", names[0], reason)
			continue
		}
		more := ""
		if len(names) > fewNodes {
			more = ", …"
		}
		text.Line("Note: %d nodes are not protected: %s (%s%s)", len(names), reason, strings.Join(names[:min(fewNodes, len(names))], ", "), more)
	}
}

// Short writes the sums.
func (l *NodeList) Short(text *Text) {
	protected, bypassed, cleaning := 0, 0, 0
	for _, node := range l.Nodes {
		if node.Protected {
			protected++
		}
		if node.Bypass != nil {
			bypassed++
		}
		if node.State != "" {
			cleaning++
		}
	}
	marked := ""
	if bypassed > 0 {
		marked = fmt.Sprintf("%d bypass marked, ", bypassed)
	}
	text.Line("%s: %d protected, %d unprotected, %s%d being cleaned up", api.Count(len(l.Nodes), "node"), protected, len(l.Nodes)-protected-bypassed, marked, cleaning)
}

// Names returns the nodes.
func (l *NodeList) Names() []string {
	var names []string
	for _, node := range l.Nodes {
		names = append(names, "node/"+node.Name)
	}
	return names
}

// History is the view of past and present cleanups, newest first.
type History struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Time       metav1.Time `json:"time"`
	Runs       []PastRun   `json:"runs"`
	// Unreadable lists the run records that this CLI cannot decode, with the cause and the next
	// step.
	Unreadable []string `json:"unreadable,omitempty"`
}

// PastRun is one cleanup.
type PastRun struct {
	// Record names its ConfigMap.
	Record      string `json:"record"`
	Node        string `json:"node"`
	NodeUID     string `json:"nodeUID"`
	State       string `json:"state"`
	Message     string `json:"message,omitempty"`
	DryRun      bool   `json:"dryRun,omitempty"`
	RequestedBy string `json:"requestedBy,omitempty"`
	// RequestedByVerified means that an authenticated API server named RequestedBy. Requester is
	// the display name.
	RequestedByVerified bool   `json:"requestedByVerified,omitempty"`
	Requester           string `json:"-"`
	Bypass              string `json:"bypass,omitempty"`
	// BypassedBy is the user who bypassed, RetryRequestedBy the user who requested the newest
	// retry, each with whether the API server verified the name. Bypasser and Retrier are their
	// display names.
	BypassedBy               string       `json:"bypassedBy,omitempty"`
	BypassedByVerified       bool         `json:"bypassedByVerified,omitempty"`
	Bypasser                 string       `json:"-"`
	RetryRequestedBy         string       `json:"retryRequestedBy,omitempty"`
	RetryRequestedByVerified bool         `json:"retryRequestedByVerified,omitempty"`
	Retrier                  string       `json:"-"`
	BreakGlass               string       `json:"breakGlass,omitempty"`
	PlanHash                 string       `json:"planHash"`
	RequestedPlan            string       `json:"requestedPlan,omitempty"`
	StartedAt                metav1.Time  `json:"startedAt"`
	FinishedAt               *metav1.Time `json:"finishedAt,omitempty"`
	Steps                    []PastStep   `json:"steps"`
	// Newer means that a newer version wrote the record. It names the fields that this CLI does
	// not know.
	Newer string `json:"newer,omitempty"`
}

// bypassed names the user and the reason of the bypass, empty without a bypass.
func (r PastRun) bypassed() string {
	switch {
	case r.Bypasser == "" && r.Bypass == "":
		return ""
	case r.Bypasser == "":
		return "bypassed: " + r.Bypass
	}
	return strings.TrimSuffix("bypassed by "+r.Bypasser+": "+r.Bypass, ": ")
}

// PastStep is one step of it.
type PastStep struct {
	Name     string `json:"name"`
	Plugin   string `json:"plugin"`
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
	Seconds  int64  `json:"seconds,omitempty"`
	Error    string `json:"error,omitempty"`
	// Outputs are the values that the step recorded, by name.
	Outputs map[string]string `json:"outputs,omitempty"`
}

// NewHistory returns an empty view.
func NewHistory(now time.Time) *History {
	return &History{APIVersion: APIVersion, Kind: "History", Time: metav1.NewTime(now), Runs: []PastRun{}}
}

// Text writes a row for each run.
func (h *History) Text(text *Text) {
	rows := [][]Cell{Cells("NODE", "STATE", "STARTED", "TOOK", "STEPS", "MESSAGE")}
	for _, run := range h.Runs {
		rows = append(rows, h.row(run))
	}
	text.Table(rows)
	for _, run := range h.Runs {
		if run.Newer != "" {
			text.Line("Note: %s", run.Newer)
		}
	}
	h.faults(text)
}

// Wide writes each step below its run.
func (h *History) Wide(text *Text) {
	for i, run := range h.Runs {
		if i > 0 {
			text.Line("")
		}
		text.Line("%s (%s) %s, started %s, hash of the steps %s", run.Node, run.NodeUID, run.State, run.StartedAt.UTC().Format(time.RFC3339), OrDash(run.PlanHash))
		if run.Requester != "" {
			text.Line("  requested by %s", run.Requester)
		}
		if run.RequestedPlan != "" {
			text.Line("  requested plan %s", run.RequestedPlan)
		}
		if run.Retrier != "" {
			text.Line("  retry requested by %s", run.Retrier)
		}
		if bypassed := run.bypassed(); bypassed != "" {
			text.Line("  %s", bypassed)
		}
		if run.BreakGlass != "" {
			text.Line("  break-glass reason: %s", run.BreakGlass)
		}
		if run.Newer != "" {
			text.Line("  note: %s", run.Newer)
		}
		var rows [][]Cell
		for _, step := range run.Steps {
			rows = append(rows, Cells("  "+step.Name, step.Plugin, step.State, api.Count(step.Attempts, "attempt"), Age(time.Duration(step.Seconds)*time.Second), step.Error))
		}
		text.Table(rows)
		for _, step := range run.Steps {
			for _, name := range slices.Sorted(maps.Keys(step.Outputs)) {
				text.Line("  output of %s: %s=%s", step.Name, name, step.Outputs[name])
			}
		}
	}
	h.faults(text)
}

func (h *History) faults(text *Text) {
	for _, fault := range h.Unreadable {
		text.Line("Note: %s", fault)
	}
}

func (h *History) row(run PastRun) []Cell {
	state, took := Cell{Text: run.State}, "-"
	if run.State == "Failed" || run.State == "Blocked" {
		state.Tone = Bad
	}
	if run.FinishedAt != nil {
		took = Age(run.FinishedAt.Sub(run.StartedAt.Time))
	}
	done := 0
	for _, step := range run.Steps {
		if step.State == "Succeeded" || step.State == "Skipped" {
			done++
		}
	}
	message := run.Message
	if bypassed := run.bypassed(); bypassed != "" {
		message = bypassed
	}
	return []Cell{
		{Text: run.Node}, state, {Text: Age(h.Time.Sub(run.StartedAt.Time)) + " ago"}, {Text: took},
		{Text: fmt.Sprintf("%d/%d", done, len(run.Steps))}, {Text: OrDash(message)},
	}
}

// Short writes the sums by state.
func (h *History) Short(text *Text) {
	states := map[string]int{}
	for _, run := range h.Runs {
		states[run.State]++
	}
	text.Line("%s: %s", api.Count(len(h.Runs), "cleanup"), OrDash(counted(states)))
}

// Names returns the run records.
func (h *History) Names() []string {
	var names []string
	for _, run := range h.Runs {
		names = append(names, "configmap/"+run.Record)
	}
	return names
}

// Rows names the field of the nodes.
func (l *NodeList) Rows() string { return "nodes" }

// Rows names the field of the runs.
func (h *History) Rows() string { return "runs" }
