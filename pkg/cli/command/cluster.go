package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Cluster is the way to an API server, by kubectl's flags and kubeconfig. Its
// clients are made when they are asked for: --help must not wait for them.
//
// The flags are client-go's own, which kubectl's are made of. Those that
// k8s.io/cli-runtime offers would double the size of this program: they bring
// discovery and printers along.
type Cluster struct {
	rules     clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	extra     []string
	time      *cluster.ServerTime
}

// NewCluster returns the way that the flags will say. Now is the clock of this machine.
func NewCluster(now func() time.Time) *Cluster {
	return &Cluster{rules: *clientcmd.NewDefaultClientConfigLoadingRules(), time: &cluster.ServerTime{Local: now}}
}

// AddFlags adds every kubeconfig flag of kubectl. Help shows only those that are
// needed often, as kubectl's does.
func (c *Cluster) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.rules.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "Path to the kubeconfig file")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ContextOverrideFlags.Namespace.ShortName = "n"
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	clientcmd.BindOverrideFlags(&c.overrides, flags, names)
	// Two that kubectl has and client-go does not bind.
	flags.StringArrayVar(&c.extra, flagUserExtra, nil, "Extra of the user to act as, in the form key=value; can be repeated")
	flags.String("cache-dir", "", "Taken as kubectl takes it, and without effect: nothing is cached")
	flags.Lookup(clientcmd.FlagNamespace).Usage = "Namespace of the agent; found by itself when not given"
	flags.Lookup(clientcmd.FlagContext).Usage = "Name of the kubeconfig context to use"
	flags.Lookup(clientcmd.FlagImpersonate).Usage = "User to act as, where you may impersonate"
	often := map[string]bool{clientcmd.FlagNamespace: true, clientcmd.FlagContext: true, clientcmd.RecommendedConfigPathFlag: true, clientcmd.FlagImpersonate: true}
	flags.VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = flag.Hidden || !often[flag.Name]
	})
}

// flagUserExtra is kubectl's name for it.
const flagUserExtra = "as-user-extra"

// impersonate takes --as-user-extra over, as kubectl understands it.
func (c *Cluster) impersonate() error {
	if len(c.extra) == 0 {
		return nil
	}
	extra := map[string][]string{}
	for _, one := range c.extra {
		key, value, is := strings.Cut(one, "=")
		if !is || key == "" {
			return exit.Usagef("--%s %q is not of the form key=value", flagUserExtra, one)
		}
		extra[key] = append(extra[key], value)
	}
	c.overrides.AuthInfo.ImpersonateUserExtra = extra
	return nil
}

// GivenNamespace returns the value of --namespace, empty when it was not given.
func (c *Cluster) GivenNamespace() string { return c.overrides.Context.Namespace }

// config reads the kubeconfig.
func (c *Cluster) config() (*rest.Config, error) {
	if err := c.impersonate(); err != nil {
		return nil, err
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&c.rules, &c.overrides).ClientConfig()
	if err != nil {
		return nil, err
	}
	// The default of 5 requests a second makes 5,000 nodes take a quarter of
	// an hour. The API server guards itself by priority and fairness.
	config.QPS, config.Burst = 300, 500
	config.UserAgent = "kubectl-nodecleanup/" + version.Version
	config.Wrap(c.time.Wrap)
	return config, nil
}

// files are those that the kubeconfig is read from.
func (c *Cluster) files() []string {
	if c.rules.ExplicitPath != "" {
		return []string{c.rules.ExplicitPath}
	}
	return c.rules.Precedence
}

// Clients are the ways to ask one API server.
type Clients struct {
	Typed   kubernetes.Interface
	Dynamic dynamic.Interface
}

// Clients reads the kubeconfig. No request is made yet.
func (c *Cluster) Clients() (Clients, error) {
	config, err := c.config()
	if clientcmd.IsEmptyConfig(err) {
		return Clients{}, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("reading the kubeconfig: no cluster is named in %s", strings.Join(c.files(), ", ")),
			Next: "Say which cluster you mean by --kubeconfig FILE or KUBECONFIG.",
		}
	}
	if wrong := (*exit.Error)(nil); errors.As(err, &wrong) {
		return Clients{}, err
	}
	if err != nil {
		return Clients{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	// Nodes as protobuf are half of what they are as JSON, and decode in a third of the time.
	compact := rest.CopyConfig(config)
	compact.ContentType = runtime.ContentTypeProtobuf
	compact.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	typed, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return Clients{}, fmt.Errorf("preparing a client: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return Clients{}, fmt.Errorf("preparing a client: %w", err)
	}
	return Clients{Typed: typed, Dynamic: objects}, nil
}
