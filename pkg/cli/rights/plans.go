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

// BlockPlans adds a blocker to each plan whose steps need rights that the agent lacks. Without an install it
// adds none: a plan needs no agent. A user who may not read the install gets a note in each plan instead. Now
// is the API server's time.
func BlockPlans(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, settings *config.Config, plans ...*printer.Plan) error {
	report, err := readOfPlans(ctx, client, namespace, now, settings)
	switch {
	case apierrors.IsForbidden(err):
		for _, plan := range plans {
			plan.Notes = append(plan.Notes, fmt.Sprintf("not checked whether the agent has the rights that the steps need: %v", err))
		}
		return nil
	case err != nil || report == nil:
		return err
	}
	for _, plan := range plans {
		var steps []string
		for _, step := range plan.Steps {
			steps = append(steps, step.Name)
		}
		if fault := report.Of(steps).Fault(); fault != "" && len(steps) > 0 {
			plan.Blocked = slices.Insert(plan.Blocked, 0, printer.Blocker{What: "rights of the agent", Reason: fault, Remedy: report.Command})
		}
	}
	return nil
}

// readOfPlans returns nil without an install.
func readOfPlans(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, settings *config.Config) (*Report, error) {
	snapshot, err := inspect.NewReader(client, namespace, now).Agent(ctx)
	if err != nil || !inspect.HasInstall(snapshot) {
		return nil, err
	}
	return ReadReport(ctx, client, snapshot, settings, now)
}
