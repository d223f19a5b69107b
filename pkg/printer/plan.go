package printer

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Plan is the view of a cleanup plan of one node.
type Plan struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Node       string `json:"node"`
	NodeUID    string `json:"nodeUID"`
	// Hash identifies the plan for cleanup --plan. It is empty if there is no plan. If the plan
	// has no hash, NoHash is the cause.
	Hash   string `json:"hash"`
	NoHash string `json:"noHash,omitempty"`
	// Deleting means that the node is being deleted. Its cleanup has begun, or begins when an
	// agent runs.
	Deleting bool `json:"deleting,omitempty"`
	// Unprotected is the cause why the config does not select this node. Then there are no steps.
	Unprotected string `json:"unprotected,omitempty"`
	// Excluded is the cause why the config does not select this node although it has the
	// finalizer. Such a node is cleaned up when it is deleted, but not on request.
	Excluded string `json:"excluded,omitempty"`
	// Bypass is marked on the node: deleted, it is released without these steps.
	Bypass *Bypass `json:"bypass,omitempty"`
	// DryRun: the config has the agent only preview.
	DryRun  bool          `json:"dryRun,omitempty"`
	Steps   []PlanStep    `json:"steps"`
	Skipped []SkippedStep `json:"skipped,omitempty"`
	// Volumes attached to the node, by name of the PersistentVolume.
	Volumes []string  `json:"volumes,omitempty"`
	Blocked []Blocker `json:"blocked,omitempty"`
	// Notes name the objects that could not be read, with the causes.
	Notes []string `json:"notes,omitempty"`
	// EstimateSeconds is derived from past runs; 0 if there are not enough.
	EstimateSeconds int64 `json:"estimateSeconds,omitempty"`
}

// PlanStep is one step.
type PlanStep struct {
	// Wave from 1; the steps of a wave can run at the same time.
	Wave     int          `json:"wave"`
	Name     string       `json:"name"`
	Plugin   string       `json:"plugin"`
	Critical bool         `json:"critical"`
	Summary  string       `json:"summary"`
	Effects  []api.Effect `json:"effects,omitempty"`
}

// SkippedStep is one that is not for this node.
type SkippedStep struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Blocker is something that would hold a cleanup up.
type Blocker struct {
	// What is the blocked object, such as "shop/cart-0" or "step storage".
	What   string `json:"what"`
	Reason string `json:"reason"`
	// Remedy is the next step.
	Remedy string `json:"remedy,omitempty"`
}

// NewPlan returns an empty view.
func NewPlan(node string) *Plan {
	return &Plan{APIVersion: APIVersion, Kind: "Plan", Node: node, Steps: []PlanStep{}}
}

// Text writes the steps, their blockers, and the command that runs the plan.
func (p *Plan) Text(text *Text) { p.write(text, false) }

// Wide writes each effect too: every pod with its verdict.
func (p *Plan) Wide(text *Text) { p.write(text, true) }

func (p *Plan) write(text *Text, effects bool) {
	if p.Unprotected != "" {
		text.Line("No plan for node %s: %s", p.Node, p.Unprotected)
	} else {
		text.Line("%s · %s · nothing was changed", strings.TrimSpace("Plan "+p.Hash), p.Node)
	}
	if p.Bypass != nil {
		text.Line("Bypass marked: %s", p.Bypass.Line())
	}
	if p.Unprotected != "" {
		return
	}
	if p.DryRun {
		text.Line("WARNING: dryRun is true in the config: the agent runs no step, and releases the node without its cleanup.")
	}
	rows := [][]Cell{Cells("WAVE", "STEP", "PLUGIN", "CRITICAL", "EFFECT")}
	for _, step := range p.Steps {
		rows = append(rows, Cells(fmt.Sprint(step.Wave), step.Name, step.Plugin, yesNo(step.Critical), OrDash(step.Summary)))
	}
	for _, step := range p.Skipped {
		rows = append(rows, Cells("-", step.Name, "-", "-", "skipped: "+step.Reason))
	}
	text.Table(rows)
	if effects {
		for _, step := range p.Steps {
			for _, effect := range step.Effects {
				text.Line("  %s: %s", step.Name, effect)
			}
		}
	}
	if len(p.Volumes) > 0 {
		text.Line("Volumes attached: %d (%s)", len(p.Volumes), strings.Join(p.Volumes, ", "))
	}
	if p.EstimateSeconds > 0 {
		text.Line("Past runs took about %s.", Age(time.Duration(p.EstimateSeconds)*time.Second))
	}
	for _, note := range p.Notes {
		text.Line("Note: %s", note)
	}
	if p.NoHash != "" {
		text.Line("Note: the plan has no hash, so cleanup --plan cannot run exactly this plan: %s", p.NoHash)
	}
	blockers(text, p.Blocked)
	switch {
	case p.Deleting:
		text.Line("It is being deleted: kubectl nodecleanup diagnose %s", p.Node)
	case p.Excluded != "" || len(p.Blocked) > 0:
	case p.Hash == "":
		text.Line("Run it, without --plan: kubectl nodecleanup cleanup %s", p.Node)
	default:
		text.Line("Run it: kubectl nodecleanup cleanup %s --plan %s", p.Node, p.Hash)
	}
}

func blockers(text *Text, blocked []Blocker) {
	if len(blocked) == 0 {
		return
	}
	text.Line("Blocked:")
	var rows [][]Cell
	for _, blocker := range blocked {
		reason := blocker.Reason
		if blocker.Remedy != "" {
			reason += " → " + blocker.Remedy
		}
		rows = append(rows, []Cell{{Text: "  " + blocker.What, Tone: Bad}, {Text: reason}})
	}
	text.Table(rows)
}

// Short writes one line.
func (p *Plan) Short(text *Text) {
	marked := ""
	if p.Bypass != nil {
		marked = "; " + p.Bypass.Line()
	}
	if p.Unprotected != "" {
		text.Line("%s no plan: %s%s", p.Node, p.Unprotected, marked)
		return
	}
	text.Line("%s plan %s: %s, %s%s", p.Node, OrDash(p.Hash), api.Count(len(p.Steps), "step"), api.Count(len(p.Blocked), "blocker"), marked)
}

// Names returns the node.
func (p *Plan) Names() []string { return []string{"node/" + p.Node} }

// PlanList is the view of the plans of many nodes.
type PlanList struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Plans      []*Plan `json:"plans"`
}

// NewPlanList returns the view.
func NewPlanList(plans []*Plan) *PlanList {
	return &PlanList{APIVersion: APIVersion, Kind: "PlanList", Plans: append([]*Plan{}, plans...)}
}

// Text writes a row for each node and a sum.
func (l *PlanList) Text(text *Text) {
	rows := [][]Cell{Cells("NODE", "PLAN", "STEPS", "BLOCKED", "FIRST BLOCKER")}
	blocked := 0
	for _, plan := range l.Plans {
		first, tone := "", Plain
		if len(plan.Blocked) > 0 {
			blocked++
			tone, first = Bad, plan.Blocked[0].What+": "+plan.Blocked[0].Reason
		}
		rows = append(rows, []Cell{
			{Text: plan.Node}, {Text: OrDash(plan.Hash)}, {Text: fmt.Sprint(len(plan.Steps))}, {Text: fmt.Sprint(len(plan.Blocked)), Tone: tone}, {Text: OrDash(first)},
		})
	}
	text.Table(rows)
	for _, plan := range l.Plans {
		if plan.Unprotected != "" {
			text.Line("Note: no plan for node %s: %s", plan.Node, plan.Unprotected)
		}
		if plan.Bypass != nil {
			text.Line("Note: node %s: %s", plan.Node, plan.Bypass.Line())
		}
	}
	text.Line("%s, %d blocked; nothing was changed", api.Count(len(l.Plans), "node"), blocked)
}

// Wide writes every plan in full.
func (l *PlanList) Wide(text *Text) {
	for i, plan := range l.Plans {
		if i > 0 {
			text.Line("")
		}
		plan.Wide(text)
	}
}

// Short writes a line for each.
func (l *PlanList) Short(text *Text) {
	for _, plan := range l.Plans {
		plan.Short(text)
	}
}

// Names returns the nodes.
func (l *PlanList) Names() []string {
	var names []string
	for _, plan := range l.Plans {
		names = append(names, plan.Names()...)
	}
	return names
}

// Rows names the field of the plans.
func (l *PlanList) Rows() string { return "plans" }
