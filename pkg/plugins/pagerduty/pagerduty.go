package pagerduty

import (
	"cmp"
	"context"
	"net/http"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type plugin struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	var key string
	if p.Event != change {
		var err error
		if key, err = p.DedupKey.Expand(target, nil); err != nil {
			return err
		}
	}
	if p.Event == resolve {
		return p.resolve(ctx, key)
	}
	summary, err := p.Summary.Expand(target, nil)
	if err != nil {
		return err
	}
	source, err := p.Source.Expand(target, nil)
	if err != nil {
		return err
	}
	payload := newPayload(summary, source, target.Began, details(target))
	if p.Event == trigger {
		return p.trigger(ctx, key, payload)
	}
	return p.change(ctx, payload)
}

// details are the fields of the Node and the step.
func details(target cleanup.Target) map[string]any {
	return map[string]any{
		"node": target.Node.Name, "uid": target.Node.UID, "provider_id": target.Node.Spec.ProviderID,
		"deleted_by": cmp.Or(target.DeletedBy, "unknown"), "step": target.Step, "idempotency_key": target.IdempotencyKey,
	}
}

// CheckHealth implements cleanup.HealthChecker. PagerDuty has no request that tests a routing key without an event, so
// only the Secret is checked.
func (p *plugin) CheckHealth(ctx context.Context) error {
	_, err := p.key(ctx)
	return err
}

// Preview implements cleanup.Previewer. PagerDuty only queues the event.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	effect := cleanup.Effect{Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: p.URL}}
	switch p.Event {
	case change:
		effect.Reason = "hands over a change event: " + p.Summary.Preview(target)
	case trigger:
		effect.Reason = "hands over the alert " + p.DedupKey.Preview(target) + ": " + p.Summary.Preview(target)
	case resolve:
		effect.Reason = "hands over the resolution of the alert " + p.DedupKey.Preview(target)
	}
	return []cleanup.Effect{effect}, nil
}
