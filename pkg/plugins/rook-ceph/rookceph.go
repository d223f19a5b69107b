package rookceph

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Cleanup implements cleanup.Plugin. The order protects the data: the OSDs run until Ceph says that their data is
// complete elsewhere, and the script asks Ceph again before it purges each of them. Ceph's own check does not
// protect the data: it purges every OSD that is down.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	osds, err := p.find(ctx, target.Node)
	if err != nil {
		return err
	}
	if len(osds) == 0 {
		target.Log.Info("the Node has no OSDs")
		return nil
	}
	target.Progress("begins with " + describe(osds))
	if err := p.mark(ctx, osds, target.IdempotencyKey); err != nil {
		return err
	}
	if err := p.run(ctx, target, evacuate, osds); err != nil {
		return err
	}
	if err := p.checkHost(ctx, target.Node); err != nil { // The phase can take hours.
		return err
	}
	if err := p.stop(ctx, osds); err != nil {
		return err
	}
	if err := p.run(ctx, target, remove, osds); err != nil {
		return err
	}
	if err := p.forget(ctx, osds); err != nil {
		return err
	}
	target.Log.Info("removed the OSDs", "osds", describe(osds))
	return nil
}

// run runs the Job of a phase, and waits for it.
func (p *plugin) run(ctx context.Context, target cleanup.Target, of phase, osds []osd) error {
	runner, err := p.runs(of, osds)
	if err != nil {
		return err
	}
	if err := runner.Cleanup(ctx, targetOf(target, of, osds)); err != nil {
		return fmt.Errorf("phase %s of %s: %w", of, describe(osds), err)
	}
	return nil
}

// Verify implements cleanup.Verifier. Rook creates a Deployment for each OSD that it finds.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	osds, err := p.find(ctx, target.Node)
	if err != nil || len(osds) == 0 {
		return "", err
	}
	return "the Node has " + describe(osds), nil
}

// Withdraw implements cleanup.Withdrawer: it ends the Jobs, and makes the OSDs that are left usable again. It changes only
// OSDs with the mark of this cleanup, so another Node with the same hostname cannot prevent that.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	all, err := p.list(ctx, target.Node)
	if err != nil {
		return err
	}
	osds := marked(all, target.IdempotencyKey)
	if len(osds) == 0 {
		return nil
	}
	var failed []error
	for _, of := range []phase{evacuate, remove} {
		runner, err := p.runs(of, all)
		if err == nil {
			err = runner.Withdraw(ctx, targetOf(target, of, all))
		}
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := p.run(ctx, target, restore, osds); err != nil {
		return err
	}
	return p.start(ctx, osds) // Last: it removes the mark.
}
