package configwatch

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// permitted returns an error that names the rights that the agent lacks for a changed config. It
// accepts the active config without a check, because an agent starts with any valid config.
func (w *Watch) permitted(ctx context.Context, changed *config.Config) error {
	if changed.Hash == w.Current().Hash {
		return nil
	}
	lacks, err := access.MissingOfConfig(ctx, changed, access.Self(w.Client))
	if err != nil {
		w.Log.Warn("cannot check the rights that the config needs", "err", err)
		return nil
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("applying the config: %s. Next: grant them: kubectl nodecleanup install, or helm upgrade; the rules are: %s. The agent then applies the config without a restart",
		access.Lacking(access.DescribeLacks(lacks)), access.GrantsOfLacks(lacks).Lines())
}

// warnOfMissingRights logs the rights that the agent lacks for the config that it starts with. It
// returns no error, because an agent that does not start protects no Node.
func (w *Watch) warnOfMissingRights(ctx context.Context, first *config.Config) {
	lacks, err := access.MissingOfConfig(ctx, first, access.Self(w.Client))
	switch {
	case err != nil:
		w.Log.Warn("cannot check the rights that the config needs", "err", err)
	case len(lacks) > 0:
		w.Log.Warn("the agent lacks rights that the config needs", "rights", access.DescribeLacks(lacks), "rules", access.GrantsOfLacks(lacks).Lines())
	}
}
