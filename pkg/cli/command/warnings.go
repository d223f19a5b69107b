package command

import (
	"context"

	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// warnings prints the API server's warnings, without the answers of our webhooks to dry runs.
type warnings struct{ rest.WarningLogger }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, agent, message string) {
	if message == api.DryRunWarning(api.WebhookHook) || message == api.DryRunWarning(api.GuardHook) {
		return
	}
	w.WarningLogger.HandleWarningHeaderWithContext(ctx, code, agent, message)
}
