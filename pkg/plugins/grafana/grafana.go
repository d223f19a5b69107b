package grafana

import (
	"context"
	"html"
	"net/http"
	"slices"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	api *httpclient.API
}

// Cleanup implements cleanup.Plugin. The times are those of the first attempts of the steps, so that a retry finds what
// an earlier attempt has written.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	found, err := p.find(ctx, p.identity(string(target.Node.UID)), maxFound)
	if err != nil {
		return err
	}
	now := target.Began.UnixMilli()
	if p.Action == end {
		return p.end(ctx, target, found, now)
	}
	if slices.ContainsFunc(found, func(a annotation) bool { return a.Time == now }) {
		return nil
	}
	return p.create(ctx, target, now, 0)
}

// end completes the newest annotation. If that has an end already, it belongs to an earlier cleanup: the plugin then
// creates the whole region.
func (p *plugin) end(ctx context.Context, target cleanup.Target, found []annotation, now int64) error {
	if slices.ContainsFunc(found, func(a annotation) bool { return a.isRegion() && a.TimeEnd == now }) {
		return nil // An earlier attempt has written it.
	}
	i := slices.IndexFunc(found, func(a annotation) bool { return a.Time <= now })
	if i < 0 || found[i].isRegion() {
		target.Log.Info("creating the whole region: the annotation of its start does not exist")
		return p.create(ctx, target, started(target).UnixMilli(), now)
	}
	start := found[i]
	if start.Time == now {
		return nil // The region has no length.
	}
	err := p.change(ctx, start.ID, change{TimeEnd: now})
	if httpclient.StatusCode(err) == http.StatusNotFound {
		return p.create(ctx, target, start.Time, now) // It was deleted after the lookup.
	}
	return err
}

// started returns when the cleanup of the Node was requested: by its deletion, or before it. It is not after the start
// of the step.
func started(target cleanup.Target) time.Time {
	requested := target.Began
	if deleted := target.Node.DeletionTimestamp; deleted != nil {
		requested = deleted.Time
	} else if at, err := time.Parse(time.RFC3339, target.Node.Annotations[api.AnnotationCleanupRequestedAt]); err == nil {
		requested = at
	}
	if requested.After(target.Began) {
		return target.Began
	}
	return requested
}

// text returns the text of an annotation. Grafana shows it as HTML, and a kubelet can write labels and annotations.
func (p *plugin) text(target cleanup.Target) (string, error) {
	return p.Text.Expand(target, html.EscapeString)
}

// Withdraw implements cleanup.Withdrawer: it ends the region of a canceled cleanup. A failure is only logged: an error
// would keep the Node cordoned until Grafana works again.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	if p.Action != begin {
		return nil
	}
	if err := p.withdraw(ctx, target); err != nil {
		target.Log.Warn("the region of the canceled cleanup remains without an end", "error", err)
	}
	return nil
}

func (p *plugin) withdraw(ctx context.Context, target cleanup.Target) error {
	found, err := p.find(ctx, p.identity(string(target.Node.UID)), maxFound)
	if err != nil || len(found) == 0 || found[0].isRegion() {
		return err
	}
	now := target.Began.Truncate(time.Second).UnixMilli() // Began is the time of this call: nothing else has begun.
	if now <= found[0].Time {
		return nil
	}
	return p.change(ctx, found[0].ID, change{TimeEnd: now, Text: found[0].Text + " (canceled)"})
}

// CheckHealth implements cleanup.HealthChecker. It reads annotations, which does not prove the right to write them.
func (p *plugin) CheckHealth(ctx context.Context) error {
	_, err := p.find(ctx, []string{"nodecleanup"}, 1)
	return err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	reason := "marks the start of the region: " + p.Text.Preview(target)
	if p.Action == end {
		reason = "completes the region of correlation " + p.Correlation + ", or creates it if its start is missing"
	}
	return []cleanup.Effect{{Action: "Annotate", Object: cleanup.Object{Kind: cleanup.KindURL, Name: p.URL}, Reason: reason}}, nil
}
