// Package agent is the composition root: it wires the packages of the agent, by hand.
//
//	serving ───── HTTP servers of every replica
//	  ├ admission ─── adds the finalizer to each Node that is created
//	  └ guard ─────── evaluates which Nodes may be deleted
//	controller ── of the leader: adds the finalizer to Nodes without it; runs the plan of a deleted Node
//	  ├ brake ─────── whether cleanups may begin
//	  ├ executor ──── runs the steps of a plan: plugins
//	  ├ runstore ──── stores run records
//	  └ report ────── Node condition and Events
//	notify ────── of the leader: sends notifications about cleanups
//	configwatch ─ the active config
//	status, admissionpolicy ─ of the leader: publish the agent's status; limit the admission policy to the selected Nodes
//	leader, clients, serverclock, servingcert, callerauth, secrets, logging, metrics ─ what they use
package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/admissionpolicy"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/brake"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/clients"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/controller"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/logging"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/notify"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/pruner"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/secrets"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serving"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/status"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
)

// brakeTimeout is how long a new leader waits until it knows whether cleanups are paused. Without
// that it still adds finalizers and follows bypasses.
const brakeTimeout = 10 * time.Second

// Run runs the agent until ctx ends. It returns an error if it cannot start or must stop. The
// error about an invalid config names every fault.
func Run(ctx context.Context, options Options) error {
	redactor := &logging.Redactor{}
	log := redactor.Handler(options.Log.Handler())
	meters := metrics.New()
	lead := leader.New(leader.Options{
		Namespace: options.Namespace, Identity: options.Identity, Timing: options.Lease, Leading: meters.Leading, Log: slog.New(log),
	})
	options.Log = slog.New(lead.Quiet(log))
	if options.SetLogger != nil {
		options.SetLogger(options.Log)
	}
	clock := serverclock.New(options.Log)
	requests := brake.NewRequests(clock)
	counted := rest.CopyConfig(options.REST)
	counted.Wrap(requests.Wrap)
	kube, err := clients.New(clients.Options{REST: counted, Version: options.Version, Clock: clock, Election: lead})
	if err != nil {
		return err
	}
	if options.CreateNamespace {
		if err := kube.EnsureNamespace(ctx, options.Namespace); err != nil {
			return err
		}
	}
	recorder, stopRecorder := kube.Recorder(ctx)
	defer stopRecorder()
	redactor.Secrets = secrets.Reader{Secrets: kube.Work.CoreV1().Secrets(options.Namespace)}
	evictions := drain.NewLimiter(config.DefaultEvictions)
	catalog := options.Catalog(plugins.Dependencies{
		Kubernetes: kube.Leading,
		HTTP:       &http.Client{Transport: lead.Transport(http.DefaultTransport)},
		Dial:       lead.Dial,
		Secrets:    redactor,
		Clock:      clock,
		Namespace:  options.Namespace,
		Evictions:  evictions,
	})
	if err := checkCatalog(catalog); err != nil {
		return err
	}
	published := status.New(status.Options{
		Client: kube.Work, Namespace: options.Namespace, Version: options.Version, Identity: options.Identity, Catalog: catalog, Fence: lead.Fence, Log: options.Log,
	})
	settings, err := configwatch.Open(ctx, configwatch.Options{
		Client: kube.Work, Namespace: options.Namespace, File: options.ConfigFile, DryRun: options.DryRun,
		Catalog: catalog,
		Metrics: meters, Status: published, Events: recorder, Log: options.Log,
	})
	if err != nil {
		return err
	}
	evictions.SetLimit(settings.Current().Concurrency.Evictions)
	engine := executor.New(clock, rand.Float64, redactor.Redact)
	writes := secrets.NewWrites(clock.Now)
	reporter := report.New(nodepatch.New(kube.LeadingMetadata), recorder, meters, clock)
	notifier := notify.New(notify.Options{
		ConfigMaps: kube.Leading.CoreV1().ConfigMaps(options.Namespace), Namespace: options.Namespace, Config: settings.Current,
		Redact: redactor.Redact, Random: rand.Float64, Metrics: meters, Fence: lead.Fence, Clock: clock, Log: options.Log,
	})
	var nodes *controller.Controller
	brakes := brake.New(brake.Options{
		Client: kube.Leading, Namespace: options.Namespace, Config: settings.Current,
		Nodes:    func() ([]*nodecache.Node, bool) { return nodes.Nodes() },
		Requests: requests, Prometheus: brake.Prometheus{Client: &http.Client{}, Secrets: redactor, Redact: redactor.Redact}, Events: recorder, Notifications: notifier, Metrics: meters, Clock: clock, Log: options.Log,
	})
	nodes = controller.New(controller.Options{
		Client:    kube.Leading,
		Metadata:  kube.LeadingMetadata,
		Config:    settings.Current,
		Executor:  engine,
		Previewer: executor.NewPreviewer(clock, rand.Float64, redactor.Redact),
		Nodes:     nodepatch.New(kube.LeadingMetadata),
		Records:   runstore.New(kube.Leading.CoreV1(), options.Namespace, notifier.RunSaved),
		Pruner: &pruner.Pruner{
			ConfigMaps: kube.Leading.CoreV1().ConfigMaps(options.Namespace),
			Nodes:      kube.Leading.CoreV1().Nodes(),
			History:    func() config.History { return settings.Current().History },
			NodeRemoved: func(run *api.Run) {
				meters.NodeUnprotected()
				notifier.RunSaved(run)
				reporter.ForMetadata(&metav1.ObjectMeta{Name: run.Node, UID: run.NodeUID}).Publish(nodeevent.NodeRemoved())
			},
			Fence: lead.Fence, Clock: clock, Log: options.Log,
		},
		Reporter:      reporter,
		Deletions:     guard.NewDeletions(kube.Work, options.Namespace, clock),
		Brake:         brakes,
		NamesEnforced: func(ctx context.Context) (bool, error) { return access.NamesEnforced(ctx, kube.Work) },
		Secrets:       writes,
		Metrics:       meters,
		Notifications: notifier,
		Fence:         lead.Fence,
		Clock:         clock,
		Log:           options.Log,
	})
	meters.Controller(nodes.Stats)
	checks := status.NewHealthChecker(status.HealthOptions{
		Config: settings.Current, Executor: engine, Publisher: published, Undelivered: notifier.Undelivered, Metrics: meters, Clock: clock, Log: options.Log,
	})
	policy := admissionpolicy.New(admissionpolicy.Options{Client: kube.Leading, Config: settings.Current, Clock: clock, Log: options.Log})

	group, ctx := errgroup.WithContext(ctx)
	servers := serving.New(options.Log, cmp.Or(options.ShutdownDelay, serving.DefaultShutdownDelay))
	if options.WebhookListen != "" {
		certificates, err := options.Certificates.Open(ctx, servingcert.Options{
			Client: kube.Work, Namespace: options.Namespace, Now: time.Now, Log: options.Log,
			Changed: func(end time.Time) {
				meters.CertificateExpiresAt(end)
				published.CertificateExpiresAt(ctx, end)
			},
			Served: meters.ServingCertificateExpiresAt,
		})
		if err != nil {
			return err
		}
		callers, err := callerauth.New(options.Callers, time.Now, logging.RateLimited(options.Log, time.Now))
		if err != nil {
			return err
		}
		servers.AddWebhook(serving.Webhook{
			Address: options.WebhookListen, Certificate: certificates.Certificate, Callers: callers, Config: settings.Current, Metrics: meters,
			Evaluator: guard.New(guard.Options{
				Client: kube.Work, Metadata: kube.Metadata, Namespace: options.Namespace, Config: settings.Current,
				Events: recorder, Clock: clock, Log: logging.RateLimited(options.Log, time.Now),
			}),
		})
		group.Go(func() error { return certificates.Run(ctx) })
	}
	servers.Add("probes", options.ProbeListen, servers.Probes())
	servers.Add("metrics", options.MetricsListen, meters.Handler())
	group.Go(func() error { return servers.Run(ctx) })
	group.Go(func() error {
		return settings.Run(ctx, func() {
			evictions.SetLimit(settings.Current().Concurrency.Evictions)
			nodes.ReconcileAll()
			checks.Trigger()
			policy.Trigger()
			notifier.ConfigChanged()
		})
	})
	group.Go(func() error {
		return lead.Run(ctx, kube.Lease, func(ctx context.Context) error {
			published.Publish(ctx)
			brakes.Forget()
			notifier.Prepare()
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return brakes.Run(ctx, nodes.ReconcileAll) })
			group.Go(func() error {
				brakes.Await(ctx, brakeTimeout)
				return nodes.Run(ctx)
			})
			group.Go(func() error { return notifier.Run(ctx) })
			group.Go(func() error { return checks.Run(ctx) })
			group.Go(func() error { return policy.Run(ctx) })
			group.Go(func() error {
				known := func(name string, at time.Time) { writes.Note(name, at); nodes.SecretWritten(name) }
				changed := func(name string) {
					known(name, clock.Now())
					checks.Trigger()
					notifier.SecretWritten(name)
					options.Log.Info("secret changed", "secret", name)
				}
				informer, err := secrets.Informer(kube.Metadata, options.Namespace)
				if err != nil {
					return err
				}
				return secrets.Follow(ctx, informer, known, changed)
			})
			return group.Wait()
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the agent: %w", err)
	}
	return nil
}
