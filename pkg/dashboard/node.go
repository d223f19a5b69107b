package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// NodeView is one Node: its row, and the timeline of its newest cleanup.
type NodeView struct {
	Name string `json:"name"`
	// Row is nil if the Node no longer exists.
	Row *NodeRow `json:"row,omitempty"`
	// Run is its newest cleanup, nil if there is none.
	Run *RunView `json:"run,omitempty"`
	// Planned are the steps of a cleanup that has not begun.
	Planned []PlannedStep `json:"planned,omitempty"`
	// NoPlan is why the order of the steps is not known, empty if it is.
	NoPlan string `json:"noPlan,omitempty"`
}

// RunView is one cleanup.
type RunView struct {
	State       string       `json:"state"`
	Message     string       `json:"message,omitempty"`
	DryRun      bool         `json:"dryRun,omitempty"`
	StartedAt   metav1.Time  `json:"startedAt"`
	FinishedAt  *metav1.Time `json:"finishedAt,omitempty"`
	RequestedBy string       `json:"requestedBy,omitempty"`
	BypassedBy  string       `json:"bypassedBy,omitempty"`
	Bypass      string       `json:"bypass,omitempty"`
	Steps       []StepView   `json:"steps"`
}

// StepView is one step of a cleanup.
type StepView struct {
	Record api.StepRun `json:"record"`
	// Wave and DependsOn are known while the config is still the one that the cleanup runs by.
	Wave      int      `json:"wave"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// PlannedStep is one step that a cleanup would run.
type PlannedStep struct {
	Name      string   `json:"name"`
	Plugin    string   `json:"plugin"`
	Critical  bool     `json:"critical"`
	Wave      int      `json:"wave"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// node returns the view of one Node. Its error is that neither the Node nor a record of it is known.
func (c *Cluster) node(ctx context.Context, name string) (*NodeView, error) {
	now := c.view()
	if now.nodes == nil {
		return nil, now.waiting()
	}
	shown := &NodeView{Name: name}
	if i, found := slices.BinarySearchFunc(now.nodes.Nodes, name, func(row NodeRow, name string) int { return cmp.Compare(row.Name, name) }); found {
		shown.Row = &now.nodes.Nodes[i]
	}
	run := now.runs[name]
	if run == nil {
		var err error
		if run, err = c.newestRun(ctx, name); err != nil {
			return nil, err
		}
	}
	if run == nil && shown.Row == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	planned, problem := c.plan(ctx, name, run)
	shown.NoPlan = problem
	if run == nil {
		shown.Planned = planned
		return shown, nil
	}
	shown.Run = &RunView{
		State: string(run.State), Message: run.Message, DryRun: run.DryRun, StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
		RequestedBy: run.Requester(), BypassedBy: run.Bypasser(), Bypass: run.BypassReason, Steps: []StepView{},
	}
	for _, step := range run.Steps {
		row := StepView{Record: step}
		if i := slices.IndexFunc(planned, func(one PlannedStep) bool { return one.Name == step.Name }); i >= 0 {
			row.Wave, row.DependsOn = planned[i].Wave, planned[i].DependsOn
		}
		shown.Run.Steps = append(shown.Run.Steps, row)
	}
	return shown, nil
}

// newestRun returns the newest record of a Node of that name, nil if there is none that can be decoded.
func (c *Cluster) newestRun(ctx context.Context, name string) (*api.Run, error) {
	var newest *api.Run
	err := cluster.EachRun(ctx, c.Client, c.Namespace, func(configMap *corev1.ConfigMap) {
		if api.RunNode(configMap) != name {
			return
		}
		if run, err := api.ReadRun(configMap); err == nil && (newest == nil || run.StartedAt.After(newest.StartedAt.Time)) {
			newest = run
		}
	})
	return newest, err
}

// plan returns the steps of the Node by the current config, and why they are not known. With a run, they are known only
// if its plan is the same.
func (c *Cluster) plan(ctx context.Context, name string, run *api.Run) ([]PlannedStep, string) {
	node, err := c.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Sprintf("the node cannot be read: %v", err)
	}
	settings, err := preview.Config(ctx, c.Client, c.Namespace)
	if err != nil {
		return nil, fmt.Sprintf("the config cannot be read: %v", err)
	}
	var kept []string
	if run != nil {
		kept = plan.Applied(run, settings.Hash)
	}
	built := plan.Build(settings.Steps, node, kept...)
	if run != nil && run.PlanHash != "" && run.PlanHash != built.StepsHash {
		return nil, "the config changed after this cleanup began"
	}
	var steps []PlannedStep
	for wave, all := range built.Waves {
		for _, step := range all {
			steps = append(steps, planned(step, wave))
		}
	}
	return steps, ""
}

func planned(step config.Step, wave int) PlannedStep {
	return PlannedStep{Name: step.Name, Plugin: step.Plugin, Critical: step.Critical, Wave: wave, DependsOn: step.DependsOn}
}
