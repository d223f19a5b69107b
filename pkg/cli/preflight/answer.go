package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// toAnswer are the rights without which the agent never answers: it reads requests from its status and writes
// the answers there, and the policy nodecleanup-records wants the verb bypass for that.
func toAnswer(namespace string) []rights.Right {
	return []rights.Right{
		{Verb: "list", Resource: "configmaps", Name: api.StatusName, Namespace: namespace},
		{Verb: "watch", Resource: "configmaps", Name: api.StatusName, Namespace: namespace},
		{Verb: "patch", Resource: "configmaps", Name: api.StatusName, Namespace: namespace},
		{Verb: "bypass", Resource: "nodes"},
	}
}

// mayAnswer returns an error with the repair if the agent lacks rights without which it never answers. It
// returns nil if the caller may not read that.
func mayAnswer(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) error {
	snapshot, err := inspect.NewReader(client, namespace, now).Agent(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("asking the agent to check its plugins: %w", err)
	case !inspect.HasInstall(snapshot):
		return nil
	}
	lacks := ""
	if inspect.LacksOwnRights(snapshot.MissingGrants) {
		lacks = strings.Join(snapshot.MissingGrants, ", ")
	} else {
		missing, err := access.Missing(ctx, toAnswer(namespace), access.ServiceAccount(client, namespace, api.Agent))
		if err != nil && !apierrors.IsForbidden(err) {
			return fmt.Errorf("asking the agent to check its plugins: %w", err)
		}
		lacks = access.DescribeAll(missing)
	}
	if lacks == "" {
		return nil
	}
	agent := inspect.Assess(snapshot, version.Version, now()).Agent
	return &exit.Error{
		Code: exit.Failure, Err: fmt.Errorf("asking the agent to check its plugins: it cannot answer: %s", access.Lacking(lacks)),
		Next: "Give the agent its rights: " + inspect.Regrant(ctx, client, namespace, agent) + "\n  or:  Show the last known results: kubectl nodecleanup plugins status",
	}
}
