package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

type plugin struct {
	options
	base    *url.URL
	params  json.RawMessage
	client  *http.Client
	secrets cleanup.Secrets
	clock   clock.WithTicker
	trust   httpclient.Trust

	mutex      sync.Mutex
	discovered webhookplugin.Discovery
	// discoveredAt is zero if the service was not asked yet.
	discoveredAt time.Time
}

// OutputNames implements cleanup.OutputNamer: only the service knows the names.
func (p *plugin) OutputNames() []string { return nil }

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	request := p.request(target)
	own := map[string]string{}
	maps.Copy(own, request.Outputs[target.Step])
	for {
		answer, secrets, err := post[webhookplugin.Answer](ctx, p, webhookplugin.CleanupPath, request)
		if err != nil {
			return err
		}
		notRecorded := record(target, own, answer.Outputs, secrets)
		request.Outputs[target.Step] = own
		message := secrets.clean(answer.Message)
		switch answer.State {
		case webhookplugin.StateDone:
			return notRecorded
		case webhookplugin.StateFailed:
			if notRecorded != nil {
				return fmt.Errorf("%w; %w", failure(answer, message), notRecorded)
			}
			return failure(answer, message)
		}
		if notRecorded != nil {
			return notRecorded
		}
		if message == "" {
			message = "waiting for " + p.base.String()
		}
		target.Progress(message)
		if progress := answer.Progress; progress != nil {
			target.Count(cleanup.Counts{Done: progress.Done, Total: progress.Total})
		}
		if err := sleep.For(ctx, p.clock, pollInterval(answer.RetryAfterSeconds)); err != nil {
			return fmt.Errorf("%s: %w", message, err)
		}
	}
}

// record records the outputs that are new or changed.
func record(target cleanup.Target, own, outputs map[string]string, secrets credentials) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		value := outputs[name]
		if own[name] == value && value != "" {
			continue
		}
		if secrets.leaks(value) {
			return fmt.Errorf("recording output %s: the value contains a secret", secrets.clean(name))
		}
		if err := target.Output(name, value); err != nil {
			return errors.New(secrets.clean(err.Error()))
		}
		own[name] = value
	}
	return nil
}

// failure returns the error of an answer with state Failed.
func failure(answer webhookplugin.Answer, message string) error {
	if message == "" {
		message = "the service reports a failure without a message"
	}
	err := errors.New(message)
	if answer.RetryAfterSeconds > 0 {
		err = cleanup.RetryAfter(err, seconds(answer.RetryAfterSeconds, httpclient.MaxRetryAfter))
	}
	if answer.Permanent {
		err = cleanup.Permanent(err)
	}
	return err
}

// pollInterval returns the wait before the next request.
func pollInterval(retryAfterSeconds int) time.Duration {
	if retryAfterSeconds == 0 {
		return webhookplugin.DefaultPollInterval
	}
	return max(webhookplugin.MinPollInterval, seconds(retryAfterSeconds, webhookplugin.MaxPollInterval))
}

// seconds returns a duration that is at most the limit. A large number does not overflow.
func seconds(number int, limit time.Duration) time.Duration {
	return time.Duration(min(number, int(limit/time.Second))) * time.Second
}

// CheckHealth implements cleanup.HealthChecker: the service has version 1 of the protocol, and says that
// it is healthy.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if _, err := p.discover(ctx); err != nil {
		return err
	}
	return p.health(ctx)
}

// health asks the service whether it is healthy.
func (p *plugin) health(ctx context.Context) error {
	_, _, err := p.call(ctx, getTimeout, http.MethodGet, webhookplugin.HealthPath, nil, "")
	return err
}

// discover asks the service for its abilities, and keeps the answer.
func (p *plugin) discover(ctx context.Context) (webhookplugin.Discovery, error) {
	discovery, err := get[webhookplugin.Discovery](ctx, p, webhookplugin.DiscoveryPath)
	if err != nil {
		return discovery, err
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.discovered, p.discoveredAt = discovery, p.clock.Now()
	return discovery, nil
}

// discoveryInterval is how long an answer about the abilities is kept: a service can be updated.
const discoveryInterval = time.Minute

// can reports whether the service has an ability.
func (p *plugin) can(ctx context.Context, ability webhookplugin.Ability) (bool, error) {
	p.mutex.Lock()
	discovered, at := p.discovered, p.discoveredAt
	p.mutex.Unlock()
	if at.IsZero() || p.clock.Since(at) > discoveryInterval {
		var err error
		if discovered, err = p.discover(ctx); err != nil {
			return false, err
		}
	}
	return discovered.Can(ability), nil
}

// Preview implements cleanup.Previewer. The call of the service is an effect of its own. The CLI does not
// call the service: only the agent shows the effects that it reports.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	effects := []cleanup.Effect{{
		Action: cleanup.Call,
		Object: cleanup.Object{Kind: cleanup.KindURL, Name: p.base.String()},
		Reason: fmt.Sprintf("POST %s about node %s", webhookplugin.CleanupPath, target.Node.Name),
	}}
	if httpclient.IsOffline(p.client) {
		return effects, nil
	}
	reported, err := p.reported(ctx, target)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		// The step is known all the same, and so is the hash of its plan.
		reported = []cleanup.Effect{{Action: cleanup.Unknown, Reason: "preview failed: " + err.Error(), ReportedBy: p.base.String()}}
	}
	return append(effects, reported...), nil
}

// reported returns the effects that the service reports.
func (p *plugin) reported(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	can, err := p.can(ctx, webhookplugin.AbilityPreview)
	if !can || err != nil {
		return nil, err
	}
	answer, secrets, err := post[webhookplugin.PreviewAnswer](ctx, p, webhookplugin.PreviewPath, p.request(target))
	if err != nil {
		return nil, err
	}
	var effects []cleanup.Effect
	for _, reported := range answer.Effects {
		effect := cleanup.Effect{Action: cleanup.Action(secrets.clean(reported.Action)), Reason: secrets.clean(reported.Reason), ReportedBy: p.base.String()}
		if object := reported.Object; object != nil {
			effect.Object = cleanup.Object{Kind: secrets.clean(object.Kind), Namespace: secrets.clean(object.Namespace), Name: secrets.clean(object.Name)}
		}
		if blocked := reported.Blocked; blocked != nil {
			effect.Blocked = &cleanup.Blocker{Cause: blockedByService, Message: secrets.clean(blocked.Message), Remedy: secrets.clean(blocked.Remedy)}
		}
		effects = append(effects, effect)
	}
	return effects, nil
}

// blockedByService is the cause of every effect that the service reports as blocked.
const blockedByService = "Service"

// Verify implements cleanup.Verifier. A service without the ability is not asked.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	can, err := p.can(ctx, webhookplugin.AbilityVerify)
	if !can || err != nil {
		return "", err
	}
	answer, secrets, err := post[webhookplugin.VerifyAnswer](ctx, p, webhookplugin.VerifyPath, p.request(target))
	if err != nil {
		return "", err
	}
	undone = secrets.clean(*answer.Undone)
	if undone == "" && *answer.Undone != "" {
		undone = "the service does not say what" // Only control characters.
	}
	return undone, nil
}
