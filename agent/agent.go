// Package agent puts the agent together. Everything is wired here, by hand:
//
//	admission ── adds the finalizer to each Node that is created (every replica)
//	  └ guard ──── says which Nodes may be deleted
//	controller ─ adds it to those that lack it; when a Node is deleted, runs its plan (the leader)
//	  └ executor ── runs the steps of the plan: plugins
//	  ├ runstore ── run records
//	  └ report ──── Node condition, Events
//	configwatch ─ the config in force
//	servingcert, metrics, leader, serve, status: what a program needs besides
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/controller"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/secrets"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
)

// Run runs the agent until ctx ends. It returns an error when it cannot start,
// for a bad config one that names every fault, or when it cannot go on.
func Run(ctx context.Context, options Options) error {
	redacted := &redactor{}
	log := redactingHandler{options.Log.Handler(), redacted.text}
	meters := metrics.New()
	lead := leader.New(leader.Options{
		Namespace: options.Namespace, Identity: options.Identity, Timing: options.Lease, Leading: meters.Leading, Log: slog.New(log),
	})
	options.Log = slog.New(lead.Quiet(log))
	if options.SetLogger != nil {
		options.SetLogger(options.Log)
	}
	clock := serverclock.New(options.Log)
	clients, err := connect(ctx, options, clock, lead)
	if err != nil {
		return err
	}
	recorder, stopRecorder := clients.recorder(ctx)
	defer stopRecorder()
	redacted.Secrets = secrets.Reader{Secrets: clients.work.CoreV1().Secrets(options.Namespace)}
	evictions := drain.NewLimiter(config.DefaultEvictions)
	catalog := options.Catalog(plugins.Dependencies{
		Kubernetes: clients.leading,
		HTTP:       &http.Client{Transport: lead.Transport(http.DefaultTransport)},
		Secrets:    redacted,
		Clock:      clock,
		Evictions:  evictions,
	})
	engine := executor.New(clock, rand.Float64, redacted.text)
	status := newStatus(clients.work, options, lead.Fence)
	settings, err := newSettings(ctx, clients.work, options, catalog, meters, status, recorder)
	if err != nil {
		return err
	}
	nodes := controller.New(controller.Options{
		Client:    clients.leading,
		Metadata:  clients.leadingMetadata,
		Config:    settings.Current,
		Executor:  engine,
		Previewer: executor.NewPreviewer(clock, rand.Float64, redacted.text),
		Records:   runstore.New(clients.leading.CoreV1(), options.Namespace),
		Reporter:  report.New(clients.leading.CoreV1(), recorder, meters, clock),
		Deletions: guard.NewDeletions(clients.work, options.Namespace, clock),
		Metrics:   meters,
		Fence:     lead.Fence,
		Clock:     clock,
		Log:       options.Log,
	})
	checks := newHealth(clients.work, options, engine, status, meters, clock)
	checks.config = settings.Current
	limits := newPolicy(clients.leading, options, settings.Current, clock)
	evictions.SetLimit(settings.Current().Concurrency.Evictions)
	settings.changed = func() {
		evictions.SetLimit(settings.Current().Concurrency.Evictions)
		nodes.ConfigChanged()
		checks.again()
		limits.again()
	}
	meters.Controller(func() metrics.Cleanups { return metrics.Cleanups(nodes.Stats()) })

	group, ctx := errgroup.WithContext(ctx)
	servers := newServers(options)
	if options.WebhookListen != "" {
		certificates, err := newCertificates(ctx, clients.work, options, func(end time.Time) {
			meters.CertificateExpiresAt(end)
			status.change(ctx, expiring(end))
		}, meters.ServingCertificateExpiresAt)
		if err != nil {
			return err
		}
		callers, err := callerauth.New(options.Callers, time.Now, sparse(options.Log, time.Now))
		if err != nil {
			return err
		}
		deletions := guard.New(guard.Options{
			Client: clients.work, Metadata: clients.metadata, Namespace: options.Namespace, Config: settings.Current, Events: recorder, Clock: clock, Log: sparse(options.Log, time.Now),
		})
		servers.admission(options.WebhookListen, certificates.Certificate, callers, settings.Current, deletions, meters)
		group.Go(func() error { return certificates.Run(ctx) })
	}
	servers.plain("probes", options.ProbeListen, servers.probes())
	servers.plain("metrics", options.MetricsListen, meters.Handler())
	group.Go(func() error { return servers.run(ctx) })
	group.Go(func() error { return settings.follow(ctx) })
	group.Go(func() error {
		return lead.Run(ctx, clients.lease, func(ctx context.Context) error {
			status.write(ctx)
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return nodes.Run(ctx) })
			group.Go(func() error { return checks.run(ctx) })
			group.Go(func() error { return limits.run(ctx) })
			group.Go(func() error {
				changed := func(name string) { nodes.SecretChanged(name); checks.again() }
				informer, err := secrets.Informer(clients.metadata, options.Namespace)
				if err != nil {
					return err
				}
				return secrets.Follow(ctx, informer, nodes.SecretWritten, changed)
			})
			return group.Wait()
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the agent: %w", err)
	}
	return nil
}
