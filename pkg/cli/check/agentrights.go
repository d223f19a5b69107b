package check

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
)

// agentRights compares the agent's rights with the rights of an install and of the configured
// steps. For an operator without the right to ask, it shows the agent's own report.
func agentRights(ctx context.Context, s *subject) result {
	missing, err := rights.MissingOfAgent(ctx, s.client, s.namespace)
	if apierrors.IsForbidden(err) {
		return s.reportedRights(ctx, err)
	}
	if err != nil {
		return skip(err)
	}
	if s.lacks = missing; len(missing) > 0 {
		hint, cause := "", ""
		if status, err := s.readStatus(ctx); err == nil {
			hint = rights.Regrant(ctx, s.client, s.namespace, status.Agent)
			if cause = strings.Join(status.Agent.MissingGrants, ", "); cause != "" {
				cause += "; "
			}
		}
		return failed(cause+"the agent lacks: "+rights.Some(missing), hint)
	}
	settings, err := s.settings(ctx)
	if err != nil {
		return pass("complete for an install; the rights that the steps need are not known: the config cannot be read or is not valid")
	}
	lacks, err := rights.MissingOfConfig(ctx, s.client, s.namespace, settings)
	switch {
	case err != nil:
		return skip(err)
	case len(lacks) > 0:
		return s.lacking(ctx, access.DescribeLacks(lacks), access.GrantsOfLacks(lacks))
	}
	return pass("complete")
}

// reportedRights returns the agent's own report.
func (s *subject) reportedRights(ctx context.Context, denied error) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(errors.Join(denied, err))
	}
	var steps []string
	grants := access.Grants{}
	for _, plugin := range status.Plugins {
		if missing := access.Reported(plugin.MissingRules, plugin.MissingNamespaceRules); !missing.Empty() {
			steps = append(steps, "step "+plugin.Step+": "+missing.Describe())
			grants.Add(missing)
		}
	}
	for _, one := range status.Notifications {
		if missing := access.Reported(one.MissingRules, nil); !missing.Empty() {
			steps = append(steps, "notification "+one.Notification+": "+missing.Describe())
			grants.Add(missing)
		}
	}
	if !grants.Empty() {
		return s.lacking(ctx, strings.Join(steps, "; "), grants)
	}
	return skip(denied)
}

// lacking names the rights that the steps lack, with the command and the manifest that grant them.
func (s *subject) lacking(ctx context.Context, steps string, grants access.Grants) result {
	grant := "kubectl nodecleanup install"
	if status, err := s.readStatus(ctx); err == nil {
		grant = rights.Regrant(ctx, s.client, s.namespace, status.Agent)
	}
	return failed("the agent lacks: "+steps, grant+"; or apply this manifest:\n"+access.Manifest(s.namespace, grants))
}
