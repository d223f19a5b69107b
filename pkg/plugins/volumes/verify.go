package volumes

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Verify implements cleanup.Verifier: no volume is attached that Cleanup would wait for.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	node, err := p.sameNode(ctx, target.Node)
	if err != nil {
		return "", err
	}
	attached, err := p.remaining(ctx, node)
	if err != nil || len(attached) == 0 {
		return "", err
	}
	return p.describe(attached, node), nil
}
