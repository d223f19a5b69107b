package volumes

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Verify implements cleanup.Verifier: no volume is attached that Cleanup would wait for.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	node, err := p.sameNode(ctx, target.Node)
	if err != nil {
		return "", err
	}
	watch, err := p.attachments.of(ctx, node.Name)
	if err != nil {
		return "", fmt.Errorf("listing volumeattachments: %w", err)
	}
	defer watch.stop()
	claims := claims{client: p.client.CoreV1(), volumes: map[claim]string{}}
	left, _, err := p.waitedFor(ctx, node, watch.list(), &claims)
	if err != nil || len(left) == 0 {
		return "", err
	}
	return p.describe(left, unreachable(node)), nil
}
