package alertmanager

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	api   *httpclient.API
	clock clock.PassiveClock
}

const (
	// createdBy is the author of the silences.
	createdBy = "nodecleanup"
	// idOutput is the output with the ID of the silence.
	idOutput = "silenceID"
	// tolerance is how much a silence may end too early or too late. It saves requests when a step is repeated.
	tolerance = time.Minute
)

// mark is the end of the comment of each silence. The name of a Node can be used again, its UID cannot.
func mark(target cleanup.Target) string { return fmt.Sprintf("(node UID %s)", target.Node.UID) }

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string {
	if p.Action == actionExpire {
		return []string{}
	}
	return []string{idOutput}
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	matchers, err := p.expand(target)
	if err != nil {
		return err
	}
	if p.Action == actionExpire {
		return p.end(ctx, target, matchers, target.Began.Add(p.GracePeriod.Duration))
	}
	// Creating is not idempotent, so an earlier attempt or step may have created the silence.
	own, err := p.own(ctx, target, matchers, target.Outputs[target.Step][idOutput])
	if err != nil {
		return err
	}
	own = slices.DeleteFunc(own, func(s silence) bool { // Another step silences other alerts of this Node.
		return s.ID != target.Outputs[target.Step][idOutput] && !sameMatchers(s.Matchers, matchers)
	})
	id, err := p.silence(ctx, target, matchers, own)
	if err != nil {
		return err
	}
	return target.Output(idOutput, id)
}

// silence extends the last of the existing silences, or creates one. It returns its ID.
func (p *plugin) silence(ctx context.Context, target cleanup.Target, matchers []matcher, existing []silence) (id string, err error) {
	now := p.clock.Now()
	end := now.Add(p.Duration.Duration)
	if len(existing) > 0 {
		last := slices.MaxFunc(existing, func(a, b silence) int { return a.EndsAt.Compare(b.EndsAt) })
		if !sameMatchers(last.Matchers, matchers) || last.EndsAt.Before(end.Add(-tolerance)) {
			last.Matchers = matchers
			if last.EndsAt.Before(end) {
				last.EndsAt = end
			}
			if last.ID, err = p.set(ctx, last); err == nil {
				target.Log.Info("extended the silence", "silence", last.ID, "until", last.EndsAt)
			}
		}
		if httpclient.StatusCode(err) != http.StatusNotFound { // It was removed in the meantime.
			return last.ID, err
		}
	}
	// Alertmanager replaces a start in the past by its own time, so a slow clock there delays nothing.
	return p.set(ctx, silence{
		Matchers: matchers, StartsAt: now.Add(-p.Duration.Duration), EndsAt: end, CreatedBy: createdBy,
		Comment: fmt.Sprintf("Cleanup of node %s, requested by %s %s", target.Node.Name, cmp.Or(target.DeletedBy, "an unknown user"), mark(target)),
	})
}

// Withdraw implements cleanup.Withdrawer. It ends the silences now, because the Node remains.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	matchers, err := p.expand(target)
	if err != nil { // So Cleanup has failed, too.
		target.Log.Info("no silence to expire", "reason", err)
		return nil
	}
	return p.end(ctx, target, matchers, time.Time{})
}

// end makes the silences of the Node end at this time, or now if it has passed.
func (p *plugin) end(ctx context.Context, target cleanup.Target, matchers []matcher, at time.Time) error {
	var recorded []string
	for _, outputs := range target.Outputs {
		recorded = append(recorded, outputs[idOutput])
	}
	own, err := p.own(ctx, target, matchers, recorded...)
	if err != nil {
		return err
	}
	if len(own) == 0 {
		target.Log.Info("no silence of the node is active")
	}
	for _, s := range own {
		switch {
		case !at.After(p.clock.Now()):
			err = p.expire(ctx, s.ID)
		case s.EndsAt.After(at.Add(tolerance)):
			s.EndsAt = at
			if _, err = p.set(ctx, s); httpclient.StatusCode(err) == http.StatusNotFound {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("ending silence %s: %w", s.ID, err)
		}
	}
	return nil
}

// own returns the silences of this Node that have not ended: those with at least these matchers, and those with one of
// these IDs, if they exist. The IDs come from outputs, so they are trusted no more than the result of the filter.
func (p *plugin) own(ctx context.Context, target cleanup.Target, matchers []matcher, ids ...string) ([]silence, error) {
	found, err := p.list(ctx, matchers...)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id == "" || slices.ContainsFunc(found, func(s silence) bool { return s.ID == id }) {
			continue
		}
		one, err := p.get(ctx, id)
		if err != nil {
			return nil, err
		}
		if one != nil {
			found = append(found, *one)
		}
	}
	return slices.DeleteFunc(found, func(s silence) bool {
		return s.expired() || s.CreatedBy != createdBy || !strings.HasSuffix(s.Comment, mark(target))
	}), nil
}

// CheckHealth implements cleanup.HealthChecker. It looks for a silence that does not exist, which also checks the
// credentials.
func (p *plugin) CheckHealth(ctx context.Context) error {
	_, err := p.list(ctx, matcher{Name: "nodecleanup", Value: "health check", IsEqual: true})
	return err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	var matchers []string
	for _, template := range p.Matchers {
		matchers = append(matchers, template.Preview(target))
	}
	name := strings.Join(matchers, ", ")
	if p.Action == actionExpire {
		reason := "now"
		if grace := p.GracePeriod.Duration; grace > 0 {
			reason = grace.String() + " after the step"
		}
		return []cleanup.Effect{{Action: "Expire", Object: cleanup.Object{Kind: "Silence", Name: name}, Reason: reason}}, nil
	}
	return []cleanup.Effect{{Action: "Silence", Object: cleanup.Object{Kind: "Alert", Name: name}, Reason: fmt.Sprintf("for %s, unless a later step extends or ends it", p.Duration.Duration)}}, nil
}
