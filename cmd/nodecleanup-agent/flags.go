package main

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

// parse reads flags and environment. Its error is a mistake in how the agent
// was called.
func parse(arguments []string, getenv func(string) string, log *slog.Logger) (*agent.Options, error) {
	options := &agent.Options{Version: version.Version, Log: log, Lease: leader.DefaultTiming()}
	dryRun, err := strconv.ParseBool(cmp.Or(getenv("DRY_RUN"), "false"))
	if err != nil {
		return nil, fmt.Errorf("environment variable DRY_RUN is %q, neither true nor false", getenv("DRY_RUN"))
	}
	identity := getenv("POD_NAME")
	if identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("reading the host's name, which --identity would replace: %w", err)
		}
		identity = host + "_" + rand.String(6)
	}
	flags := pflag.NewFlagSet("nodecleanup-agent", pflag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the cluster; in a Pod the service account is used instead (default $KUBECONFIG)")
	flags.StringVar(&options.Namespace, "namespace", cmp.Or(getenv("POD_NAMESPACE"), api.Namespace), "namespace of the Lease, run records, config and CA")
	flags.BoolVar(&options.CreateNamespace, "create-namespace", false, "make the namespace where it is missing")
	flags.StringVar(&options.ConfigFile, "config", "", "config file, instead of configmap "+api.ConfigName)
	flags.BoolVar(&options.DryRun, "dry-run", dryRun, "preview each step, then let the node go without its cleanup, whatever the config says (default $DRY_RUN)")
	flags.StringVar(&options.Identity, "identity", identity, "name that holds the Lease; agents that run at once must not share it (default $POD_NAME, else the host's name and a random part)")
	flags.StringVar(&options.WebhookListen, "webhook-listen", "", fmt.Sprintf("address of the admission webhook, such as :%d; empty for none", api.WebhookPort))
	flags.StringVar(&options.Certificates.CertificateFile, "webhook-cert-file", "", "file with the webhook's certificate, such as cert-manager makes; read again when it changes; empty has the agent make one, and publish its CA")
	flags.StringVar(&options.Certificates.KeyFile, "webhook-key-file", "", "file with the key of --webhook-cert-file")
	flags.StringVar(&options.Callers.CAFile, "webhook-client-ca", "", "file with the CAs of client certificates that the webhook demands; read again when it changes; empty demands none (see kubectl nodecleanup webhook-auth)")
	flags.StringSliceVar(&options.Callers.Subjects, "webhook-client-subjects", []string{api.WebhookClientSubject}, "common names of client certificates that may call the webhook, with --webhook-client-ca")
	networks := flags.StringSlice("webhook-source-cidrs", nil, "networks that may call the webhook, such as 10.0.0.0/16; empty for any")
	flags.StringVar(&options.ProbeListen, "probe-listen", "", fmt.Sprintf("address of %s and %s, such as :%d; empty for none", api.HealthPath, api.ReadyPath, api.ProbePort))
	flags.StringVar(&options.MetricsListen, "metrics-listen", "", fmt.Sprintf("address of %s, such as :%d; empty for none", api.MetricsPath, api.MetricsPort))
	flags.DurationVar(&options.Lease.Duration, "lease-duration", options.Lease.Duration, "how long others wait before they take the Lease of a leader that has stopped")
	flags.DurationVar(&options.Lease.RenewDeadline, "lease-renew-deadline", options.Lease.RenewDeadline, "how long the leader tries to renew the Lease before it stops cleaning")
	flags.DurationVar(&options.Lease.RetryPeriod, "lease-retry-period", options.Lease.RetryPeriod, "how long to wait between tries to take or renew the Lease")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the agent takes flags only, see --help", flags.Arg(0))
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
