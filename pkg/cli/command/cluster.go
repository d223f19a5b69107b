package command

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Cluster builds clients from kubectl's flags and the kubeconfig, on first use: --help must not wait for them.
type Cluster struct {
	flags    *genericclioptions.ConfigFlags
	password string
	// matchServerVersion is the flag of that name.
	matchServerVersion bool
	time               *cluster.ServerTime
}

// NewCluster returns a Cluster whose flags are not parsed yet. now is the clock of this machine.
func NewCluster(now func() time.Time) *Cluster {
	// The numbers are kubectl's own limits for discovery.
	c := &Cluster{flags: genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50), time: &cluster.ServerTime{Local: now}}
	// WithDeprecatedPasswordFlag would have client-go ask for a user name on stdin where the
	// kubeconfig has no credentials, also in a script.
	c.flags.Username = new(string)
	c.flags.WithWrapConfigFn(c.wrap)
	return c
}

// AddFlags adds every kubeconfig flag of kubectl. Help shows only those that are
// needed often, as kubectl's does.
func (c *Cluster) AddFlags(flags *pflag.FlagSet) {
	c.flags.AddFlags(flags)
	flags.BoolVar(&c.matchServerVersion, flagMatchServerVersion, false, "Require the server to be of the same minor version as the Kubernetes libraries of this CLI (kubectl compares the full version)")
	flags.StringVar(&c.password, clientcmd.FlagPassword, "", "Password for basic authentication to the API server")
	flags.Lookup(clientcmd.RecommendedConfigPathFlag).Usage = "Path to the kubeconfig file"
	flags.Lookup(clientcmd.FlagNamespace).Usage = "Namespace of the agent (default: the namespace of the install)"
	flags.Lookup(clientcmd.FlagContext).Usage = "Name of the kubeconfig context to use"
	flags.Lookup(clientcmd.FlagImpersonate).Usage = "User to impersonate; you need the right to do so"
	flags.Lookup("cache-dir").DefValue = "" // The default is below the home directory, which the reference does not name.
	often := map[string]bool{clientcmd.FlagNamespace: true, clientcmd.FlagContext: true, clientcmd.RecommendedConfigPathFlag: true, clientcmd.FlagImpersonate: true}
	flags.VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = flag.Hidden || !often[flag.Name]
	})
}

// GivenNamespace returns the value of --namespace, empty when it was not given.
func (c *Cluster) GivenNamespace() string { return *c.flags.Namespace }

// wrap completes the config that the flags and the kubeconfig give.
func (c *Cluster) wrap(config *rest.Config) *rest.Config {
	if c.password != "" {
		config.Password = c.password
	}
	// With the default of 5 requests a second, 5,000 nodes take a quarter of an hour. API Priority and
	// Fairness protects the API server.
	config.QPS, config.Burst = 300, 500
	config.UserAgent = "kubectl-nodecleanup/" + version.Version
	config.WarningHandlerWithContext = warnings{}
	config.Wrap(c.time.Wrap)
	config.Wrap(markSent)
	return config
}

// config reads the kubeconfig.
func (c *Cluster) config() (*rest.Config, error) {
	// ConfigFlags ignores what it does not understand, and would act as another user.
	for _, one := range *c.flags.ImpersonateUserExtra {
		if key, _, is := strings.Cut(one, "="); !is || key == "" {
			return nil, exit.Usagef("--as-user-extra %q is not of the form key=value", one)
		}
	}
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	raw, err := c.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, err
	}
	// Where nothing names a cluster, kubectl tries this address.
	if len(raw.Clusters) == 0 && *c.flags.APIServer == "" && config.Host == "http://localhost:8080" {
		return nil, genericclioptions.ErrEmptyConfig
	}
	return config, nil
}

// files returns the paths of the kubeconfig.
func (c *Cluster) files() []string {
	if *c.flags.KubeConfig != "" {
		return []string{*c.flags.KubeConfig}
	}
	return c.flags.ToRawKubeConfigLoader().ConfigAccess().GetLoadingPrecedence()
}

// Names returns the name of the context, empty if none is used, and the address of the API server.
func (c *Cluster) Names() (context, server string, err error) {
	config, err := c.config()
	if err != nil {
		return "", "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	raw, err := c.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "", "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return cmp.Or(*c.flags.Context, raw.CurrentContext), config.Host, nil
}

// Clients holds the clients of one API server.
type Clients struct {
	Typed   kubernetes.Interface
	Dynamic dynamic.Interface
}

// Clients reads the kubeconfig and returns the clients. It sends no request, except for --match-server-version.
func (c *Cluster) Clients() (Clients, error) {
	config, err := c.config()
	if clientcmd.IsEmptyConfig(err) {
		return Clients{}, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("reading the kubeconfig: no cluster is named in %s", strings.Join(c.files(), ", ")),
			Next: "Choose the cluster: set --kubeconfig FILE or KUBECONFIG.",
		}
	}
	if wrong := (*exit.Error)(nil); errors.As(err, &wrong) {
		return Clients{}, err
	}
	if err != nil {
		return Clients{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if c.matchServerVersion {
		if err := matchServerVersion(c.flags); err != nil {
			return Clients{}, err
		}
	}
	// Nodes as protobuf are half of what they are as JSON, and decode in a third of the time.
	compact := rest.CopyConfig(config)
	compact.ContentType = runtime.ContentTypeProtobuf
	compact.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	web, err := httpClient(config)
	if err != nil {
		return Clients{}, fmt.Errorf("preparing a client: %w", err)
	}
	typed, err := kubernetes.NewForConfigAndClient(compact, web)
	if err != nil {
		return Clients{}, fmt.Errorf("preparing a client: %w", err)
	}
	objects, err := dynamic.NewForConfigAndClient(config, web)
	if err != nil {
		return Clients{}, fmt.Errorf("preparing a client: %w", err)
	}
	return Clients{Typed: typed, Dynamic: objects}, nil
}
