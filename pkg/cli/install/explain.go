package install

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// explainWait adds the next step to an error of waiting.
func explainWait(err error, namespace string) error {
	if errors.Is(err, install.ErrStopped) {
		return &exit.Error{Code: exit.Failure, Err: err, Next: "The manifests are applied, but the agent is scaled to 0. Scale it up: " + inspect.ScaleUp(namespace)}
	}
	if stalled := (*install.StalledError)(nil); errors.As(err, &stalled) {
		code := exit.Failure
		if errors.Is(err, context.DeadlineExceeded) {
			code = exit.TimedOut
		}
		return &exit.Error{Code: code, Err: err, Next: "The manifests are applied. Find out why the agent does not start: " + inspect.StallRemedy(namespace, stalled.Stall)}
	}
	return err
}

// explain adds the next step to an error of applying.
func explain(err error) error {
	var terminating *install.NamespaceTerminatingError
	if errors.As(err, &terminating) {
		return &exit.Error{
			Code: exit.Failure, Err: err,
			Next: "Run it again when the namespace is deleted. " + command.Unblock(terminating.Namespace, terminating.Holding),
		}
	}
	if apierrors.IsConflict(err) {
		return &exit.Error{
			Code: exit.Failure,
			Err:  err,
			Next: "Another client manages these fields. To take them over, add --force-conflicts. Objects that were applied before the conflict stay.",
		}
	}
	if ports := (*install.PortsError)(nil); errors.As(err, &ports) {
		return &exit.Error{Code: exit.Failure, Err: err, Next: "Another client has changed the ports. To replace them, add --force-conflicts. Objects that were applied before the error stay."}
	}
	if apierrors.IsForbidden(err) {
		return &exit.Error{
			Code: exit.Failure,
			Err:  err,
			Next: "Install creates a namespace, cluster roles and a webhook, and grants only rights that you have. Run it as a cluster administrator (--as, --context). Objects that were applied before the error stay.",
		}
	}
	return err
}
