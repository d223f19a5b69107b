// Package executor runs the plan of one Node. It orders steps by dependency and priority, runs several
// at the same time, and applies the timeout and the retries of each. A panic fails only its own step.
// The run record lists the steps that this agent or an earlier one has completed; they do not run again
// unless their plugin reports that they are undone.
package executor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// Observer observes the steps of a run.
type Observer interface {
	// StepChanged is called for each change of a step's state, in order, and for each failed attempt.
	// Took is the duration of the attempt that has ended, or 0 if none has.
	StepChanged(step *api.StepRun, took time.Duration)
}

// Job is one run of a plan.
type Job struct {
	Plan plan.Plan
	// Record has a StepRun for each step of the plan, see plan.Plan.Record. The
	// executor is its only writer until Run returns.
	Record *api.Run
	// Node is the snapshot that plugins receive.
	Node *corev1.Node
	// Parallel is how many steps run at the same time, at least 1.
	Parallel int
	// Save stores Record. It is called before each side effect. If it fails, no further step begins.
	Save func(ctx context.Context) error
	// Retriable reports whether a failed Save may succeed if it is retried.
	Retriable func(error) bool
	// MayContinue is called before each side effect and before a result is recorded. It returns an error
	// if the run must stop, such as when this agent is no longer the leader or the Node was replaced.
	MayContinue func() error
	Observer    Observer
	Log         *slog.Logger
}

// Outcome is the state of a run of which no step is running.
type Outcome struct {
	// State is Succeeded, Waiting or Failed.
	State api.State
	// RetryAt is the time of the next attempt, in state Waiting.
	RetryAt time.Time
	// Message names the steps that keep the Node. It is empty in state Succeeded.
	Message string
}

// Executor runs jobs. Its methods may be called from several goroutines.
type Executor struct {
	clock clock.WithTicker
	// random returns a number from 0 up to 1, for the jitter of retries.
	random func() float64
	// redact removes secrets from the texts of plugins.
	redact func(string) string
	call   call
	// previews: the executor calls Preview. An error becomes an unknown effect, and no step fails.
	previews bool
	// hanging maps each plugin whose health check timed out to the time of that. The key is the plugin,
	// or the name of its step or notification if the plugin is not comparable.
	hanging sync.Map
}

// New returns an executor that calls the plugins' Cleanup. It records their texts after redact.
func New(clock clock.WithTicker, random func() float64, redact func(string) string) *Executor {
	return &Executor{clock: clock, random: random, redact: redact, call: cleanUp}
}

// NewPreviewer returns an executor that calls the plugins' Preview and never Cleanup. It records the
// effects that they return, after redact.
func NewPreviewer(clock clock.WithTicker, random func() float64, redact func(string) string) *Executor {
	return &Executor{clock: clock, random: random, redact: redact, call: preview, previews: true}
}

// Run continues a job until all its steps are done or no step can run now. In the second case, the
// Outcome says when to call Run again. An error means that the run was interrupted: ctx ended, the
// record could not be saved, or MayContinue returned an error. Run then cancels the running steps and
// does not record their results.
func (e *Executor) Run(ctx context.Context, job Job) (Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		Executor: e,
		Job:      job,
		steps:    job.Plan.Steps(),
		running:  map[string]bool{},
		unsaved:  true,
		results:  make(chan result, len(job.Record.Steps)),
		progress: newProgressBuffer(),
	}
	// Wait for the attempts of this run. A plugin that ignores its context can outlive its attempt, see
	// cutOffAfter.
	defer r.drain()
	defer cancel()
	r.recordSkips()
	r.clearBlockedRetries()
	for {
		if err := r.verifyDone(ctx); err != nil {
			return Outcome{}, err
		}
		if err := r.begin(ctx, r.ready()); err != nil {
			return Outcome{}, err
		}
		if len(r.running) == 0 {
			return r.outcome(), nil
		}
		if err := r.await(ctx); err != nil {
			return Outcome{}, err
		}
	}
}

// run is the state of one call of Run; one goroutine owns it.
type run struct {
	*Executor
	Job
	steps   []config.Step
	running map[string]bool
	// unsaved: the record has changes that are not stored. It is true at first because building the plan
	// may have changed the record. If no step remains, storing that change completes the run.
	unsaved bool
	// settled: a step has ended, and its result is not stored yet.
	settled bool
	// failed: a step has failed since verifyDone last ran.
	failed   bool
	results  chan result
	progress *progressBuffer
}

type result struct {
	step    config.Step
	took    time.Duration
	effects []cleanup.Effect
	err     error
}

// drain waits for the running steps after the run was canceled.
func (r *run) drain() {
	for range r.running {
		<-r.results
	}
}

// recordSkips records each step that the plan skips, once.
func (r *run) recordSkips() {
	for _, skip := range r.Plan.Skipped {
		step := r.Record.Step(skip.Step.Name)
		if step.State == api.StepSkipped {
			continue
		}
		step.State, step.Reason = api.StepSkipped, skip.Reason
		r.Observer.StepChanged(step, 0)
	}
}

// clearBlockedRetries removes the time of the next attempt from a step whose dependency is no longer done,
// because the config or the Node's labels changed. The step begins when its dependency is done.
func (r *run) clearBlockedRetries() {
	for _, step := range r.steps {
		if record := r.Record.Step(step.Name); record.State == api.StepRetrying && !r.unblocked(step.Name) {
			record.State, record.NextAttemptAt = api.StepPending, nil
		}
	}
}

// begin starts steps. It first stores the record, then calls MayContinue, then starts the plugins. One
// write stores both the results of earlier steps and the start of these.
func (r *run) begin(ctx context.Context, steps []config.Step) error {
	if len(steps) == 0 {
		if r.unsaved {
			return r.saveWithRetry(ctx)
		}
		return nil
	}
	now := metav1.NewTime(r.clock.Now())
	for _, step := range steps {
		record := r.Record.Step(step.Name)
		record.State, record.NextAttemptAt = api.StepRunning, nil
		record.Attempts++
		if record.StartedAt == nil {
			record.StartedAt = &now
		}
	}
	if err := r.saveWithRetry(ctx); err != nil {
		return err
	}
	if err := r.MayContinue(); err != nil {
		return fmt.Errorf("beginning step %s of node %s: %w", steps[0].Name, r.Node.Name, err)
	}
	for _, step := range steps {
		record := r.Record.Step(step.Name)
		r.Observer.StepChanged(record, 0)
		r.running[step.Name] = true
		target, limit := r.target(step, record.Attempts), r.limit(step)
		go func() { r.results <- r.attempt(ctx, r.call, step, target, limit) }()
	}
	return nil
}

// progressInterval is how long the run buffers progress before it writes it to the API server.
const progressInterval = 2 * time.Second

// await waits until a step ends or the time of a retry has come.
func (r *run) await(ctx context.Context) error {
	var retry, flush <-chan time.Time
	if at, waiting := r.nextRetry(); waiting && len(r.running) < r.Parallel {
		timer := r.clock.NewTimer(at.Sub(r.clock.Now()))
		defer timer.Stop()
		retry = timer.C()
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("running the cleanup of node %s: %w", r.Node.Name, context.Cause(ctx))
		case <-retry:
			return nil
		case result := <-r.results:
			return r.settle(ctx, result)
		case <-r.progress.changed:
			changed, outputs := r.recordProgress()
			if outputs { // Another agent may continue the run, and would create a second ticket.
				r.saveProgress(ctx)
			} else if changed && flush == nil {
				timer := r.clock.NewTimer(progressInterval)
				defer timer.Stop()
				flush = timer.C()
			}
		case <-flush:
			flush = nil
			r.saveProgress(ctx)
		}
	}
}

// saveProgress stores the record while steps are running. They continue if that fails: the next step's
// save is retried.
func (r *run) saveProgress(ctx context.Context) {
	if err := r.save(ctx); err != nil {
		r.unsaved = true
		r.Log.Warn("cannot record progress, the steps continue", "err", err)
	}
}

// recordProgress records the newest progress and outputs of the running steps. It reports whether
// anything has changed, and whether an output has.
func (r *run) recordProgress() (changed, outputs bool) {
	for name, report := range r.progress.take() {
		step := r.Record.Step(name)
		if !r.running[name] {
			continue
		}
		if report.text != nil && step.Progress != *report.text {
			step.Progress, changed = *report.text, true
		}
		if report.counts != nil && !reflect.DeepEqual(step.Counts, report.counts) {
			step.Counts, changed = report.counts, true
		}
		if report.outputs != nil && !maps.Equal(step.Outputs, report.outputs) {
			step.Outputs, changed, outputs = report.outputs, true, true
		}
	}
	return changed, outputs
}

// settle records the result of an attempt; the next begin stores it. If ctx has ended, it records
// nothing, and the next leader runs the step again.
func (r *run) settle(ctx context.Context, done result) error {
	r.recordProgress() // The outputs that the plugin recorded just before it returned.
	delete(r.running, done.step.Name)
	r.unsaved = true
	if ctx.Err() != nil {
		return fmt.Errorf("running the cleanup of node %s: %w", r.Node.Name, context.Cause(ctx))
	}
	if err := r.MayContinue(); err != nil {
		return fmt.Errorf("recording step %s of node %s: %w", done.step.Name, r.Node.Name, err)
	}
	if r.previews {
		done = asUnknownEffect(done)
	}
	r.settled = true
	record := r.Record.Step(done.step.Name)
	record.Progress, record.Counts = "", nil
	now := metav1.NewTime(r.clock.Now())
	if done.err == nil {
		record.State, record.LastError, record.Effects, record.FinishedAt = api.StepSucceeded, "", r.redactEffects(done.effects), &now
		r.Observer.StepChanged(record, done.took)
		return nil
	}
	r.fail(record, done)
	r.failed = true
	return nil
}

// fail records that a step failed, and when it is retried.
func (r *run) fail(record *api.StepRun, done result) {
	now := metav1.NewTime(r.clock.Now())
	record.Failures++
	record.LastError = shorten(r.redact(done.err.Error()))
	if delay, again := r.retryDelay(done.step, record.Failures, done.err); again {
		next := metav1.NewMicroTime(now.Add(delay))
		record.State, record.NextAttemptAt, record.FinishedAt = api.StepRetrying, &next, nil
	} else {
		record.State, record.FinishedAt = api.StepFailed, &now
		if delay > 0 {
			record.LastError += fmt.Sprintf(" (no retry: it would exceed the step's totalTimeout of %s)", done.step.TotalTimeout)
		}
	}
	r.Observer.StepChanged(record, done.took)
}
