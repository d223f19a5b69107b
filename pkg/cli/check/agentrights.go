package check

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
)

// agentRights compares the agent's rights with the rights of an install and of the configured
// steps. For an operator without the right to ask, it shows the agent's own report.
func agentRights(ctx context.Context, s *subject) result {
	if _, err := s.readStatus(ctx); err != nil {
		return skip(err)
	}
	settings, unknown := s.settings(ctx)
	if unknown != nil {
		settings = nil
	}
	report, err := rights.ReadReport(ctx, s.client, s.snapshot, settings, s.now)
	if err != nil {
		return skip(err)
	}
	s.lacks = report.Own
	switch {
	case report.Fault() != "":
		hint := report.Command
		if manifest := report.Manifest(s.namespace); manifest != "" {
			hint += "; or apply this manifest:\n" + manifest
		}
		return failed(report.Fault(), hint)
	case report.Denied != nil:
		return skip(report.Denied)
	case unknown != nil:
		return pass("complete for an install; the rights that the steps need are not known: the config cannot be read or is not valid")
	}
	return pass("complete")
}
