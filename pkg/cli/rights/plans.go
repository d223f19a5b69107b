package rights

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// BlockPlans adds blockers to each plan that the agent would not run now: no agent is the leader, the agent lacks
// rights that the steps need, or the plugin of a critical step is unhealthy. On a cluster that never had an agent
// it adds none: a plan needs no agent. A user who may not read the install gets a note in each plan instead. Now
// is the API server's time.
func BlockPlans(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, settings *config.Config, plans ...*printer.Plan) error {
	snapshot, report, err := readOfPlans(ctx, client, namespace, now, settings)
	switch {
	case apierrors.IsForbidden(err):
		for _, plan := range plans {
			plan.Notes = append(plan.Notes, fmt.Sprintf("not checked whether the agent is able to run this plan, and has the rights that the steps need: %v", err))
		}
		return nil
	case err != nil:
		return err
	}
	for _, plan := range plans {
		blockByRights(report, plan)
		inspect.BlockPlan(snapshot, plan, settings.Hash, now())
	}
	return nil
}

// blockByRights adds a blocker if the steps of a plan need rights that the agent lacks. The report may be nil.
func blockByRights(report *Report, plan *printer.Plan) {
	var steps []string
	for _, step := range plan.Steps {
		steps = append(steps, step.Name)
	}
	if report == nil || len(steps) == 0 {
		return
	}
	if fault := report.Of(steps).Fault(); fault != "" {
		plan.Blocked = slices.Insert(plan.Blocked, 0, printer.Blocker{What: "rights of the agent", Reason: fault, Remedy: report.Command})
	}
}

// readOfPlans returns no report without an install.
func readOfPlans(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, settings *config.Config) (*inspect.Snapshot, *Report, error) {
	snapshot, err := inspect.NewReader(client, namespace, now).Agent(ctx)
	if err != nil || !inspect.HasInstall(snapshot) {
		return snapshot, nil, err
	}
	report, err := ReadReport(ctx, client, snapshot, settings, now)
	return snapshot, report, err
}
