package install

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
)

// mayInstall checks the server version and the rights of the caller before the first object is
// sent.
func mayInstall(ctx context.Context, client kubernetes.Interface, namespace string) error {
	if _, err := rights.ServerVersion(ctx, client); err != nil {
		return &exit.Error{Code: exit.Failure, Err: err, Next: "Upgrade the control plane first; nothing was stored."}
	}
	missing, err := rights.MissingToInstall(ctx, client, namespace)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("installing: you lack rights: %s; nothing was stored", rights.Some(missing)),
		Next: "Installing is for a cluster administrator: use --as or --context to be one.",
	}
}
