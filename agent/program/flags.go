package program

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// parse reads flags and environment variables. It returns an error if one of them is invalid.
func parse(arguments []string, getenv func(string) string, log *slog.Logger) (*agent.Options, error) {
	options := &agent.Options{Version: version.Version, Log: log, Lease: leader.DefaultTiming()}
	dryRun, err := strconv.ParseBool(cmp.Or(getenv("DRY_RUN"), "false"))
	if err != nil {
		return nil, fmt.Errorf("environment variable DRY_RUN must be true or false, not %q", getenv("DRY_RUN"))
	}
	identity := getenv("POD_NAME")
	if identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("reading the host name (or set --identity): %w", err)
		}
		identity = host + "_" + rand.String(6)
	}
	flags := pflag.NewFlagSet("nodecleanup-agent", pflag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the cluster (default $KUBECONFIG, or the service account of the Pod)")
	flags.StringVar(&options.Namespace, "namespace", cmp.Or(getenv("POD_NAMESPACE"), api.Namespace), "namespace of the Lease, the run records, the config and the CA")
	flags.BoolVar(&options.CreateNamespace, "create-namespace", false, "create the namespace if it does not exist")
	flags.StringVar(&options.ConfigFile, "config", "", "config file, used instead of configmap "+api.ConfigName)
	flags.BoolVar(&options.DryRun, "dry-run", dryRun, "preview the steps and release each node without its cleanup, even if the config sets dryRun to false (default $DRY_RUN)")
	flags.StringVar(&options.Identity, "identity", identity, "name of this agent in the Lease, unique among running agents (default $POD_NAME, or the host name and a random suffix)")
	flags.StringVar(&options.WebhookListen, "webhook-listen", "", fmt.Sprintf("address of the admission webhook, such as :%d (default none)", api.WebhookPort))
	flags.StringVar(&options.Certificates.CertificateFile, "webhook-cert-file", "", "file with the certificate of the webhook, for example of cert-manager, reloaded when it changes (default: the agent creates a certificate and publishes its CA)")
	flags.StringVar(&options.Certificates.KeyFile, "webhook-key-file", "", "file with the key of --webhook-cert-file")
	flags.StringVar(&options.Callers.CAFile, "webhook-client-ca", "", "file with the CAs of the client certificates that the webhook requires, reloaded when it changes (default: no client certificate is required; see kubectl nodecleanup webhook-auth)")
	flags.StringSliceVar(&options.Callers.Subjects, "webhook-client-subjects", []string{api.WebhookClientSubject}, "common names of the client certificates that may call the webhook, with --webhook-client-ca")
	networks := flags.StringSlice("webhook-source-cidrs", nil, "networks that may call the webhook, such as 10.0.0.0/16 (default: all)")
	flags.StringVar(&options.ProbeListen, "probe-listen", "", fmt.Sprintf("address of %s and %s, such as :%d (default none)", api.HealthPath, api.ReadyPath, api.ProbePort))
	flags.StringVar(&options.MetricsListen, "metrics-listen", "", fmt.Sprintf("address of %s, such as :%d (default none)", api.MetricsPath, api.MetricsPort))
	flags.DurationVar(&options.Lease.Duration, "lease-duration", options.Lease.Duration, "time after which another replica takes the Lease of a leader that does not renew it")
	flags.DurationVar(&options.Lease.RenewDeadline, "lease-renew-deadline", options.Lease.RenewDeadline, "time for which the leader tries to renew the Lease before it stops")
	flags.DurationVar(&options.Lease.RetryPeriod, "lease-retry-period", options.Lease.RetryPeriod, "time between attempts to take or renew the Lease")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the agent takes only flags, see --help", flags.Arg(0))
	}
	for _, written := range *networks {
		network, err := netip.ParsePrefix(written)
		if err != nil {
			return nil, fmt.Errorf("--webhook-source-cidrs: %w", err)
		}
		options.Callers.Networks = append(options.Callers.Networks, network.Masked())
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kubeconfig
	options.REST, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server (--kubeconfig, $KUBECONFIG, or a Pod's service account): %w", err)
	}
	return options, nil
}
