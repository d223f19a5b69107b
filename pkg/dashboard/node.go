package dashboard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// NodeView is one Node: its row, and the timeline of its newest cleanup.
type NodeView struct {
	Name string `json:"name"`
	// Row is nil if the Node does not exist.
	Row *NodeRow `json:"row,omitempty"`
	// Run is its cleanup, nil if there is none; of deleted Nodes of that name, the newest.
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

// node returns the view of one Node. Its error is NotFound if neither the Node nor a record of it exists.
func (c *Cluster) node(ctx context.Context, name string) (*NodeView, error) {
	node, err := c.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return c.deletedNode(ctx, name)
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", name, err)
	}
	now := c.read()
	if now.nodes == nil {
		return nil, now.waiting()
	}
	run, err := cluster.RunOf(ctx, c.Client, c.Namespace, node)
	if err != nil {
		return nil, err
	}
	shown := &NodeView{Name: name, Row: now.nodes.row(name)}
	steps, problem := c.plan(ctx, node, run)
	if shown.NoPlan = problem; run == nil {
		shown.Planned = steps
	} else {
		shown.Run = runView(run, steps)
	}
	return shown, nil
}

// deletedNode returns the view of the newest cleanup of a Node that does not exist.
func (c *Cluster) deletedNode(ctx context.Context, name string) (*NodeView, error) {
	run, undecodable, err := cluster.NewestRun(ctx, c.Client, c.Namespace, name)
	switch {
	case err != nil:
		return nil, err
	case run != nil:
		return &NodeView{Name: name, Run: runView(run, nil)}, nil
	case len(undecodable) > 0:
		return nil, errors.Join(undecodable...)
	}
	return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
}

// runView returns the view of a run whose plan has these steps.
func runView(run *api.Run, planned []PlannedStep) *RunView {
	shown := &RunView{
		State: string(run.State), Message: run.Message, DryRun: run.DryRun, StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
		RequestedBy: run.Requester(), BypassedBy: run.Bypasser(), Bypass: run.BypassReason, Steps: []StepView{},
	}
	for _, step := range run.Steps {
		row := StepView{Record: step}
		if i := slices.IndexFunc(planned, func(one PlannedStep) bool { return one.Name == step.Name }); i >= 0 {
			row.Wave, row.DependsOn = planned[i].Wave, planned[i].DependsOn
		}
		shown.Steps = append(shown.Steps, row)
	}
	return shown
}

// plan returns the steps of the Node by the current config, and why they are not known. With a run, they are known only
// if its plan is the same.
func (c *Cluster) plan(ctx context.Context, node *corev1.Node, run *api.Run) ([]PlannedStep, string) {
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
			steps = append(steps, PlannedStep{Name: step.Name, Plugin: step.Plugin, Critical: step.Critical, Wave: wave, DependsOn: step.DependsOn})
		}
	}
	return steps, ""
}
