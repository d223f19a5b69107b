package agent

import (
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
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
	// Certificates say by what the webhook shows who it is.
	Certificates Certificates
	// Callers say who may call the webhook; zero for everybody.
	Callers callerauth.Options
	// LeaveOpen is how long the webhook answers when the agent is to end, until every API
	// server calls another one; zero for the default.
	LeaveOpen time.Duration
	// Lease is the timing of leader election.
	Lease leader.Timing
	// Catalog lists the plugins.
	Catalog func(plugins.Dependencies) []cleanup.Descriptor
	Version string
	Log     *slog.Logger
	// SetLogger, if there is one, is given the logger that takes secrets out of what it
	// writes to Log, before anything else begins: for what logs by itself, as client-go does.
	SetLogger func(*slog.Logger)
}
