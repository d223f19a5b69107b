package longhorn

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	nodecleanup "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

type plugin struct {
	options
	api    api
	client kubernetes.Interface
	clock  clock.Clock
}

// pollPeriod is the time between two reads of the node and its data. A move takes minutes to hours.
const pollPeriod = 10 * time.Second

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	if err := p.sameNode(ctx, target); err != nil {
		return err
	}
	progress, total := "evicting the data of node "+target.Node.Name, 0
	for {
		text, err := p.advance(ctx, target, &total)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", progress, context.Cause(ctx))
		case err != nil && transient(err):
			target.Progress(progress + "; retrying: " + err.Error())
		case err != nil || text == "":
			return err
		default:
			progress = text
			target.Progress(text)
		}
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// advance requests the eviction, if it is not requested, and returns "" if the step is done. Otherwise it describes what the
// step waits for.
func (p *plugin) advance(ctx context.Context, target cleanup.Target, total *int) (progress string, err error) {
	found, err := p.find(ctx, target.Node.Name)
	switch {
	case err != nil:
		return "", err
	case found == nil:
		target.Log.Info("Longhorn has no node of this name")
		return "", nil
	}
	if err := p.evict(ctx, target, found); err != nil {
		return "", err
	}
	held, err := p.hold(ctx, found)
	if err != nil {
		return "", err
	}
	*total = max(*total, len(held.items))
	target.Count(cleanup.Counts{Done: *total - len(held.items), Total: *total})
	// Longhorn moves nothing from a node that is not ready.
	if !found.ready() || p.clock.Since(target.Began) >= p.HealthyElsewhereAfter.Duration {
		return p.unfinished(ctx, held)
	}
	return p.describe(ctx, held, held.items)
}

// unfinished describes the data that must not stay, or returns "" if there is none.
func (p *plugin) unfinished(ctx context.Context, held *holding) (string, error) {
	if p.HealthyElsewhere == 0 {
		return p.describe(ctx, held, held.items)
	}
	if err := p.count(ctx, held); err != nil {
		return "", err
	}
	return p.describe(ctx, held, p.must(held))
}

// find returns the Longhorn node, nil if Longhorn has none of this name. If Longhorn has no nodes at all in the namespace, it is
// more likely that the namespace is the wrong one.
func (p *plugin) find(ctx context.Context, name string) (*node, error) {
	found, err := p.api.node(ctx, name)
	if err == nil || !nodecleanup.Absent(err) {
		return found, err
	}
	return nil, p.someNode(ctx)
}

// someNode returns an error if the namespace has no Longhorn node.
func (p *plugin) someNode(ctx context.Context) error {
	some, err := p.api.some(ctx, "nodes")
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w. Next: check that Longhorn is installed, with the API version longhorn.io/v1beta2", err)
	case err != nil:
		return err
	case !some:
		return fmt.Errorf("namespace %s has no nodes.longhorn.io. Next: check the option namespace", p.Namespace)
	}
	return nil
}

// transient reports whether the step tries the same again in the same attempt. Longhorn's webhook rejects each
// change of a node while Longhorn compares its disks with their status.
func transient(err error) bool {
	return nodecleanup.Retriable(err) || apierrors.IsConflict(err) || apierrors.IsResourceExpired(err) ||
		apierrors.IsForbidden(err) && nodecleanup.FailureOf(err).Kind == nodecleanup.WebhookDenied
}

// sameNode returns an error if the Node does not exist any more. A new Node of the same name has its own
// data.
func (p *plugin) sameNode(ctx context.Context, target cleanup.Target) error {
	current, err := p.client.CoreV1().Nodes().Get(ctx, target.Node.Name, metav1.GetOptions{})
	switch {
	case nodecleanup.Absent(err) || err == nil && current.UID != target.Node.UID:
		return cleanup.Permanent(fmt.Errorf("evicting the data of node %s: the node with UID %s no longer exists", target.Node.Name, target.Node.UID))
	case err != nil:
		return fmt.Errorf("reading node %s: %w", target.Node.Name, err)
	}
	return nil
}

// Verify implements cleanup.Verifier: Longhorn still moves data away from the node, and no data is there that must not stay.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	if err := p.sameNode(ctx, target); err != nil {
		return "", err
	}
	found, err := p.find(ctx, target.Node.Name)
	switch {
	case err != nil || found == nil:
		return "", err
	case !found.evicting():
		return "Longhorn can place replicas on node " + found.Metadata.Name + " again", nil
	}
	held, err := p.hold(ctx, found)
	if err != nil {
		return "", err
	}
	return p.unfinished(ctx, held)
}

// CheckHealth implements cleanup.HealthChecker: it checks that Longhorn's nodes and replicas can be read.
func (p *plugin) CheckHealth(ctx context.Context) error {
	_, err := p.api.some(ctx, "replicas")
	return errors.Join(p.someNode(ctx), err)
}
