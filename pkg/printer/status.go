package printer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Health is how a part of the install is.
type Health string

// The healths.
const (
	Healthy Health = "ok"
	// Degraded means that it works, but with a fault.
	Degraded Health = "degraded"
	Broken   Health = "FAILED"
	Missing  Health = "MISSING"
	// Unknown means that its health could not be determined.
	Unknown Health = "unknown"
)

// Bad reports whether the part does not work.
func (h Health) Bad() bool { return h == Broken || h == Missing }

// Status is the view of the whole install.
type Status struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Time at which the cluster was looked at.
	Time      metav1.Time `json:"time"`
	Healthy   bool        `json:"healthy"`
	Namespace string      `json:"namespace"`
	// Pause is why no cleanup begins; nil while cleanups may begin.
	Pause     *Pause      `json:"pause,omitempty"`
	Agent     Agent       `json:"agent"`
	Admission Admission   `json:"admission"`
	Guard     DeleteGuard `json:"guard"`
	Config    Config      `json:"config"`
	// Plugins as the leader found them, one for each step of the config.
	Plugins []PluginHealth `json:"plugins,omitempty"`
	// Notifications as the leader found their plugins. No cleanup depends on them.
	Notifications []NotificationHealth `json:"notifications,omitempty"`
	Nodes         NodeCounts           `json:"nodes"`
	// Bypasses are the bypasses on live nodes.
	Bypasses []Bypass `json:"bypasses,omitempty"`
	// Cleanups that hold a node, worst first.
	Cleanups []CleanupRow `json:"cleanups"`
	// Next is the next step, empty if none is needed.
	Next string `json:"next,omitempty"`

	// Bars: the table shows a progress bar for each cleanup that counts.
	Bars bool `json:"-"`
}

// NewStatus returns an empty view.
func NewStatus(now time.Time) *Status {
	return &Status{APIVersion: APIVersion, Kind: "Status", Time: metav1.NewTime(now), Cleanups: []CleanupRow{}}
}

// Pause is why no cleanup begins.
type Pause struct {
	Cause PauseCause `json:"cause"`
	// By is the user who paused.
	By string `json:"by,omitempty"`
	// Since is when that began, Until when it ends by itself.
	Since  *metav1.Time `json:"since,omitempty"`
	Until  *metav1.Time `json:"until,omitempty"`
	Reason string       `json:"reason,omitempty"`
}

// PauseCause is the cause why no cleanup begins.
type PauseCause string

// The causes of a pause.
const (
	// Paused: an operator paused.
	Paused PauseCause = "pause"
	// Brake: the brake of the config is engaged.
	Brake PauseCause = "brake"
	// Window: no maintenance window is open.
	Window PauseCause = "window"
	// UnknownBrake: the state of the brake cannot be decoded. A leading agent writes it again.
	UnknownBrake PauseCause = "brake-unknown"
)

// Ends reports whether the pause is sure to end by itself.
func (p *Pause) Ends() bool { return p.Until != nil }

// Line returns the pause in one line.
func (p *Pause) Line(now time.Time) string {
	ago := ""
	if p.Since != nil {
		ago = " " + Age(now.Sub(p.Since.Time)) + " ago"
	}
	switch {
	case p.Cause == Brake:
		return fmt.Sprintf("Brake engaged%s: %s", ago, p.Reason)
	case p.Cause == UnknownBrake:
		return "Not known whether the brake is engaged: " + p.Reason
	case p.Cause == Window:
		return "Outside the maintenance windows until " + p.Until.UTC().Format(time.RFC3339)
	case p.Reason == "":
		return "Paused by " + p.By + ago
	}
	return "Paused by " + p.By + ago + ": " + p.Reason
}

// Agent is how the agent is.
type Agent struct {
	Health Health `json:"health"`
	// Problem in plain words.
	Problem string `json:"problem,omitempty"`
	// Remedy is the next step if the agent's Deployment is not rolled out.
	Remedy     string `json:"remedy,omitempty"`
	Version    string `json:"version,omitempty"`
	CLIVersion string `json:"cliVersion"`
	// HelmUpgrade is the command that upgrades the Helm release, empty if Helm did not install.
	HelmUpgrade string `json:"-"`
	// Outside: the agent runs outside the cluster; then there are no replicas.
	Outside bool `json:"outside,omitempty"`
	// URL is the webhook URL of an agent outside the cluster, empty if it is unknown.
	URL string `json:"url,omitempty"`
	// Stopped: it is scaled to 0 replicas, and none outside leads.
	Stopped  bool  `json:"stopped,omitempty"`
	Ready    int32 `json:"ready"`
	Replicas int32 `json:"replicas"`
	// Leader is the holder of the Lease, HasLeader whether it still renews the Lease.
	Leader    string       `json:"leader,omitempty"`
	HasLeader bool         `json:"hasLeader"`
	RenewedAt *metav1.Time `json:"renewedAt,omitempty"`
	DryRun    bool         `json:"dryRun,omitempty"`
	// MissingGrants describes the roles and bindings that the agent lacks.
	MissingGrants []string `json:"missingGrants,omitempty"`
}

// Admission is how new nodes are protected.
type Admission struct {
	// Ways are the components that add the finalizer: policy, webhook.
	Ways          []string `json:"ways,omitempty"`
	Health        Health   `json:"health"`
	Problem       string   `json:"problem,omitempty"`
	FailurePolicy string   `json:"failurePolicy,omitempty"`
	// CAExpiresAt is the end of the CA in the bundle that lasts longest.
	CAExpiresAt *metav1.Time `json:"caExpiresAt,omitempty"`
	// NoAnswer is why no agent answers the webhook, Remedy the command that repairs it.
	NoAnswer string `json:"unanswered,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// DeleteGuard is the state of the delete guard.
type DeleteGuard struct {
	Health        Health `json:"health"`
	Problem       string `json:"problem,omitempty"`
	FailurePolicy string `json:"failurePolicy,omitempty"`
	// CAExpiresAt is the end of the CA in the bundle that lasts longest.
	CAExpiresAt *metav1.Time `json:"caExpiresAt,omitempty"`
	// NoAnswer is why no agent answers the webhook, Remedy the command that repairs it.
	NoAnswer string `json:"unanswered,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// Config is which config the leader follows.
type Config struct {
	Health Health `json:"health"`
	// Hash names the active config, empty while no agent has reported one.
	Hash string `json:"hash,omitempty"`
	// Problem is why the newest config was rejected; the last valid config is then active.
	Problem string `json:"problem,omitempty"`
	// Missing: there is no config on the cluster.
	Missing bool `json:"missing,omitempty"`
	// Remedy is the command that repairs it.
	Remedy string `json:"remedy,omitempty"`
}

// NodeCounts counts nodes. Bypassed are the live nodes with our finalizer that a bypass releases
// when they are deleted: they are not protected. Excluded are the nodes without our finalizer that the
// config's nodeSelector excludes. Cleaning is by the state of the cleanup; its nodes
// are counted in Protected too.
type NodeCounts struct {
	Total       int            `json:"total"`
	Protected   int            `json:"protected"`
	Unprotected int            `json:"unprotected"`
	Bypassed    int            `json:"bypassed,omitempty"`
	Excluded    int            `json:"excluded,omitempty"`
	Cleaning    map[string]int `json:"cleaning,omitempty"`
}

// CleanupRow is one node that is being cleaned up.
type CleanupRow struct {
	Node  string `json:"node"`
	State string `json:"state"`
	// Stuck: it continues only if an operator acts.
	Stuck bool `json:"stuck,omitempty"`
	// Step such as "2/4 deregister-lb".
	Step   string       `json:"step,omitempty"`
	Since  *metav1.Time `json:"since,omitempty"`
	Reason string       `json:"reason,omitempty"`
	// Counts are the progress of the step, if its plugin reports counts.
	Counts *api.Counts `json:"counts,omitempty"`
}

// Text writes a line for each part, a table of the cleanups, and the next step.
func (s *Status) Text(text *Text) {
	if s.Pause != nil {
		text.Line("%s", s.Pause.Line(s.Time.Time))
	}
	s.bypasses(text)
	if s.Pause != nil || len(s.Bypasses) > 0 {
		text.Line("")
	}
	parts := [][]Cell{
		{{Text: "Agent"}, health(s.Agent.Health), {Text: s.agent()}},
		{{Text: "Admission"}, health(s.Admission.Health), {Text: s.admission()}},
	}
	if problem := cmp.Or(s.Guard.Problem, s.Guard.NoAnswer); problem != "" {
		parts = append(parts, []Cell{{Text: "Guard"}, health(s.Guard.Health), {Text: problem}})
	}
	if s.Config.Problem != "" {
		parts = append(parts, []Cell{{Text: "Config"}, health(s.Config.Health), {Text: s.config()}})
	}
	if failing := s.failing(); failing != "" {
		parts = append(parts, []Cell{{Text: "Plugins"}, health(Broken), {Text: failing}})
	}
	if failing := s.failingNotifications(); failing != "" {
		parts = append(parts, []Cell{{Text: "Notify"}, health(Degraded), {Text: failing}})
	}
	text.Table(parts)
	text.Line("Nodes       %s", s.nodes())
	if len(s.Cleanups) > 0 {
		text.Line("")
		rows := [][]Cell{Cells("NODE", "STATE", "STEP", "AGE", "REASON")}
		for _, cleanup := range s.Cleanups {
			rows = append(rows, s.row(cleanup))
		}
		text.Table(rows)
	}
	if s.Next != "" {
		text.Line("Next: %s", s.Next)
	}
}

// Short writes one line for all, and one for each cleanup that needs an operator.
func (s *Status) Short(text *Text) {
	if s.Pause != nil {
		text.Line("%s", s.Pause.Line(s.Time.Time))
	}
	s.bypasses(text)
	text.Line("agent %s, admission %s, nodes: %s", s.Agent.Health, s.Admission.Health, s.nodes())
	for _, cleanup := range s.Cleanups {
		if cleanup.Stuck {
			text.Line("%s %s: %s", cleanup.Node, cleanup.State, OrDash(cleanup.Reason))
		}
	}
}

// Names returns the nodes that are being cleaned up.
func (s *Status) Names() []string {
	var names []string
	for _, cleanup := range s.Cleanups {
		names = append(names, "node/"+cleanup.Node)
	}
	return names
}

func (s *Status) failing() string {
	var names, problems []string
	for _, plugin := range s.Plugins {
		if plugin.Error != "" {
			names, problems = append(names, plugin.Step), append(problems, plugin.Dated(s.Time.Time))
		}
	}
	return failingOf(names, problems, len(s.Plugins))
}

// failingNotifications is like failing for notifications.
func (s *Status) failingNotifications() string {
	var names, problems []string
	for _, one := range s.Notifications {
		if one.Error != "" {
			names, problems = append(names, one.Notification), append(problems, one.Dated(s.Time.Time))
		}
	}
	return failingOf(names, problems, len(s.Notifications))
}

func failingOf(names, problems []string, all int) string {
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d: %s", len(names), all, strings.Join(ByProblem(names, problems, "%s (%s)"), ", "))
}

func health(health Health) Cell {
	tones := map[Health]Tone{Healthy: Good, Degraded: Warn, Broken: Bad, Missing: Bad, Unknown: Warn}
	return Cell{Text: string(health), Tone: tones[health]}
}

func (s *Status) agent() string {
	agent := s.Agent
	var parts []string
	if agent.Version != "" {
		parts = append(parts, fmt.Sprintf("%s (CLI %s)", agent.Version, agent.CLIVersion))
	}
	if agent.Outside {
		parts = append(parts, "outside the cluster")
	} else if agent.Health != Missing {
		parts = append(parts, fmt.Sprintf("%d/%d ready", agent.Ready, agent.Replicas))
	}
	if agent.HasLeader {
		parts = append(parts, "leader "+agent.Leader)
	}
	if agent.DryRun {
		parts = append(parts, "DRY RUN: no step is run")
	}
	if agent.Problem != "" {
		parts = append(parts, agent.Problem)
	}
	return strings.Join(parts, " · ")
}

func (s *Status) admission() string {
	var parts []string
	if len(s.Admission.Ways) > 0 {
		parts = append(parts, strings.Join(s.Admission.Ways, " + "))
	}
	if end := s.Admission.CAExpiresAt; end != nil && end.After(s.Time.Time) && s.Admission.NoAnswer == "" {
		parts = append(parts, "CA valid "+Age(end.Sub(s.Time.Time)))
	}
	if s.Admission.FailurePolicy != "" {
		parts = append(parts, "failurePolicy "+s.Admission.FailurePolicy)
	}
	if problem := cmp.Or(s.Admission.Problem, s.Admission.NoAnswer); problem != "" {
		parts = append(parts, problem)
	}
	return strings.Join(parts, " · ")
}

func (s *Status) config() string {
	state, problem := map[bool]string{true: "missing", false: "invalid"}[s.Config.Missing], strings.ReplaceAll(s.Config.Problem, "\n", "; ")
	switch {
	case s.Config.Hash == "":
		return state + " · " + problem
	case !s.Config.Missing:
		state = "rejected"
	}
	return fmt.Sprintf("%s, config %s remains active · %s", state, s.Config.Hash, problem)
}

func (s *Status) nodes() string {
	parts := []string{fmt.Sprintf("%d protected", s.Nodes.Protected)}
	if s.Nodes.Unprotected > 0 {
		parts = append(parts, fmt.Sprintf("%d unprotected", s.Nodes.Unprotected))
	}
	if s.Nodes.Bypassed > 0 {
		parts = append(parts, fmt.Sprintf("%d bypass marked", s.Nodes.Bypassed))
	}
	if s.Nodes.Excluded > 0 {
		parts = append(parts, fmt.Sprintf("%d excluded by nodeSelector", s.Nodes.Excluded))
	}
	var states []string
	for state := range s.Nodes.Cleaning {
		states = append(states, state)
	}
	slices.Sort(states)
	for _, state := range states {
		parts = append(parts, fmt.Sprintf("%d %s", s.Nodes.Cleaning[state], strings.ToLower(state)))
	}
	return strings.Join(parts, " · ")
}

func (s *Status) row(cleanup CleanupRow) []Cell {
	age := ""
	if cleanup.Since != nil {
		age = Age(s.Time.Sub(cleanup.Since.Time))
	}
	state := Cell{Text: cleanup.State}
	if cleanup.Stuck {
		state.Tone = Bad
	}
	reason := cleanup.Reason
	if s.Bars && cleanup.Counts != nil {
		reason = strings.TrimSuffix(Bar(*cleanup.Counts, s.Time.Time)+"; "+reason, "; ")
	}
	return []Cell{
		{Text: cleanup.Node}, state, {Text: OrDash(cleanup.Step)}, {Text: OrDash(age)}, {Text: OrDash(reason)},
	}
}

// Rows names the field of the cleanups.
func (s *Status) Rows() string { return "cleanups" }
