package agent

import (
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// Options configure the agent.
type Options struct {
	// REST configures the connection to the API server.
	REST *rest.Config
	// Namespace of the Lease, the run records, the config and the CA.
	Namespace string
	// CreateNamespace creates the namespace if it does not exist, for an agent outside the cluster.
	CreateNamespace bool
	// Identity is the name under which the agent holds the Lease; no two
	// agents that run at the same time may share it.
	Identity string
	// ConfigFile is read instead of the ConfigMap, unless it is empty.
	ConfigFile string
	// DryRun sets dryRun, and overrides the config.
	DryRun bool
	// WebhookListen, ProbeListen and MetricsListen are addresses such as
	// ":9443"; an empty one is not served.
	WebhookListen, ProbeListen, MetricsListen string
	// Certificates is the source of the webhook's serving certificate.
	Certificates servingcert.Source
	// Callers restricts who may call the webhook. The zero value allows every client.
	Callers callerauth.Options
	// ShutdownDelay is how long the webhook answers after ctx ended, until every API server
	// calls another replica; zero for the default.
	ShutdownDelay time.Duration
	// Lease is the timing of leader election.
	Lease leader.Timing
	// Catalog lists the plugins.
	Catalog func(plugins.Dependencies) []cleanup.Descriptor
	Version string
	Log     *slog.Logger
	// SetLogger, unless it is nil, is called once with the agent's logger, which removes
	// secrets. It is for libraries with their own logger, such as client-go.
	SetLogger func(*slog.Logger)
}
