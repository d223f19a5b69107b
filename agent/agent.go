// Package agent puts the agent together. Everything is wired here, by hand:
//
//	admission ── adds the finalizer to each Node that is created (every replica)
//	watcher ──── adds it to those that lack it; when a Node is deleted, has its plan run (the leader)
//	  └ executor ── runs the steps of the plan: plugins
//	  └ runrecord ─ run record, Node condition, Events
//	servingcert, metrics, leader, serve: what a program needs besides
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/admission"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/watcher"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// Options say how to run the agent.
type Options struct {
	// REST is how to reach the API server.
	REST *rest.Config
	// Namespace is where the agent keeps its Lease, run records and CA.
	Namespace string
	// CreateNamespace makes the namespace where it is missing (a local agent).
	CreateNamespace bool
	// Identity is the name under which the agent holds the Lease; no two
	// agents that run at the same time may share it.
	Identity string
	// ConfigFile is read instead of the ConfigMap, where it is given.
	ConfigFile string
	// DryRun previews whatever config says.
	DryRun bool
	// WebhookListen, ProbeListen and MetricsListen are addresses such as
	// ":9443"; an empty one is not served.
	WebhookListen, ProbeListen, MetricsListen string
	// Lease is the timing of leader election.
	Lease LeaseTiming
	// Catalog lists the plugins.
	Catalog func(plugins.Dependencies) []cleanup.Descriptor
	Version string
	Log     *slog.Logger
}

// Run runs the agent until ctx ends. It returns an error when it cannot start,
// for a bad config one that names every fault, or when it cannot go on.
func Run(ctx context.Context, options Options) error {
	clients, err := newClients(options)
	if err != nil {
		return err
	}
	if err := clients.ensureNamespace(ctx, options); err != nil {
		return err
	}
	catalog := options.Catalog(plugins.Dependencies{
		Kubernetes: clients.work,
		HTTP:       &http.Client{},
		Secrets:    clusterSecrets{clients.work.CoreV1().Secrets(options.Namespace)},
	})
	parse := parseConfig(options, catalog)
	first, err := loadConfig(ctx, clients.work, options, parse)
	if err != nil {
		return err
	}
	options.Log.Info("config loaded", "hash", first.Hash, "steps", len(first.Steps), "dryRun", first.DryRun)

	meters := metrics.New()
	realClock := clock.RealClock{}
	recorder, stopRecorder := clients.recorder(ctx)
	defer stopRecorder()
	lead := newLeadership(clients.lease, options, meters)
	report := &status{client: clients.work, namespace: options.Namespace, fence: lead.fence, log: options.Log}
	report.says = api.AgentStatus{Version: options.Version, Leader: options.Identity}
	report.change(ctx, accepted(first))

	var nodes *watcher.Watcher
	settings := configwatch.New(first, configwatch.Options{
		Client: clients.work, Namespace: options.Namespace, Parse: parse,
		Accepted: func(changed *config.Config) {
			options.Log.Info("config changed", "hash", changed.Hash, "steps", len(changed.Steps), "dryRun", changed.DryRun)
			meters.ConfigReloaded(true)
			report.change(ctx, accepted(changed))
			nodes.Reconsider()
		},
		Rejected: func(configMap *corev1.ConfigMap, err error) {
			options.Log.Error("config refused, the last good one stays", "err", err)
			meters.ConfigReloaded(false)
			report.change(ctx, refused(err))
			recorder.Event(configMap, corev1.EventTypeWarning, "ConfigRejected", "The last good config stays in force. "+err.Error())
		},
	})
	nodes = watcher.New(watcher.Options{
		Client:    clients.work,
		Config:    settings.Current,
		Executor:  executor.New(realClock, rand.Float64),
		Previewer: executor.NewPreviewer(realClock, rand.Float64),
		Records:   runrecord.NewStore(clients.work.CoreV1(), options.Namespace),
		Reporter:  runrecord.NewReporter(clients.work.CoreV1(), recorder, realClock),
		Metrics:   meters,
		Fence:     lead.fence,
		Clock:     realClock,
		Log:       options.Log,
	})
	meters.Nodes(
		func() float64 { return float64(nodes.Counts().WithFinalizer) },
		func() float64 { return float64(nodes.Counts().Unprotected) },
		func() float64 { return float64(nodes.Counts().Running) },
	)

	servers := newServers(options.Log)
	group, ctx := errgroup.WithContext(ctx)
	if options.WebhookListen != "" {
		certificates, err := newCertificates(ctx, clients.work, options)
		if err != nil {
			return err
		}
		meters.CertificateExpiresAt(certificates.authority.ExpiresAt)
		selector := func() labels.Selector { return settings.Current().NodeSelector }
		servers.tls(options.WebhookListen, certificates.keeper, api.MutatePath, admission.Handler(selector, meters, options.Log))
		group.Go(func() error { return certificates.publish(ctx) })
	}
	servers.plain("probes", options.ProbeListen, servers.probes())
	servers.plain("metrics", options.MetricsListen, meters.Handler())
	group.Go(func() error { return servers.run(ctx) })
	if options.ConfigFile == "" {
		group.Go(func() error { return settings.Run(ctx) })
	}
	group.Go(func() error {
		return lead.run(ctx, func(ctx context.Context) error {
			report.change(ctx, func(*api.AgentStatus) {})
			return nodes.Run(ctx)
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the agent: %w", err)
	}
	return nil
}
