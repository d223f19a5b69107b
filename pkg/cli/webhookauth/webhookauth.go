// Package webhookauth is the command that creates the files by which an API server authenticates
// to the webhook.
package webhookauth

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Options of the command.
type Options struct {
	*command.Environment

	OutputDir       string
	ControlPlaneDir string
	Hosts           []string
	Subject         string
	ValidFor        time.Duration
	Renew           bool
}

// New returns the command with its sub-command.
func New(environment *command.Environment) *cobra.Command {
	parent := &cobra.Command{
		Use:   "webhook-auth",
		Short: "Let only the API server call the webhook",
		Args:  command.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(generate(environment))
	return parent
}

func generate(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Generate a client certificate, and the configuration for the API server and the agent",
		Long: `Generate a client certificate, the files that configure the API server to present it, and
a kustomization that makes the agent require it. The command contacts no cluster.

Use it if you run the control plane: the API server needs the flag
--admission-control-config-file, which managed control planes do not offer. The files for
the API server are in the folder control-plane, and those for the agent in the folder
agent. Store ca.key outside the cluster and its nodes.

With --renew, the command signs a new client certificate with the CA in the folder, and
changes no other file. API servers reload it without a restart.`,
		Example: `  # Generate everything, in the folder webhook-auth
  kubectl nodecleanup webhook-auth generate

  # A year later, with the same CA
  kubectl nodecleanup webhook-auth generate --renew`,
		Args: command.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.OutputDir, "output-dir", "webhook-auth", "Output folder; created if it is missing")
	flags.StringVar(&o.ControlPlaneDir, "control-plane-dir", "/etc/kubernetes/nodecleanup", "Folder of the files on each machine of the control plane")
	flags.StringSliceVar(&o.Hosts, "webhook-host", nil, "Host of the webhook, with the port if it is not 443 (default: the agent's Service)")
	flags.StringVar(&o.Subject, "subject", api.WebhookClientSubject, "Common name in the client certificate, as in --webhook-client-subjects of the agent")
	flags.DurationVar(&o.ValidFor, "valid-for", 365*24*time.Hour, "Validity of the client certificate")
	flags.BoolVar(&o.Renew, "renew", false, "Sign a new client certificate with the CA in the folder")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	switch {
	case o.OutputDir == "":
		return exit.Usagef("--output-dir is empty: name the folder to write into")
	case !path.IsAbs(o.ControlPlaneDir):
		return exit.Usagef("--control-plane-dir must begin with /, not be %q: the API server reads its files by these names", o.ControlPlaneDir)
	case strings.TrimSpace(o.Subject) == "":
		return exit.Usagef("--subject is empty: the agent tells callers apart by it")
	case o.ValidFor <= 0 || o.ValidFor > caLife:
		return exit.Usagef("--valid-for must be longer than 0 and at most %s, the life of the CA, not %s", caLife, o.ValidFor)
	}
	for _, host := range o.Hosts {
		if host == "" || strings.ContainsAny(host, "/ ") {
			return exit.Usagef("--webhook-host %q is not a host: write it as nodecleanup-agent.nodecleanup-system.svc or 127.0.0.1:9443", host)
		}
	}
	return nil
}

// hosts are the names by which the API server looks up its client certificate.
func (o *Options) hosts() []string {
	if len(o.Hosts) > 0 {
		return o.Hosts
	}
	return []string{api.Agent + "." + o.namespace() + ".svc"}
}

// namespace of the agent. None is looked up: no cluster is asked.
func (o *Options) namespace() string { return cmp.Or(o.Cluster.GivenNamespace(), api.Namespace) }

// Run writes the files and prints the next steps.
func (o *Options) Run() error {
	now := o.Now()
	ca, err := o.authority(now)
	if err != nil {
		return err
	}
	certificate, key, err := ca.client(o.Subject, now, now.Add(o.ValidFor))
	if err != nil {
		return err
	}
	controlPlane := func(name string) string { return filepath.Join("control-plane", name) }
	files := []file{{controlPlane("client.key"), key, 0o600}, {controlPlane("client.crt"), certificate, 0o644}}
	if !o.Renew {
		kubeconfig, err := kubeconfig(o.ControlPlaneDir, o.hosts())
		if err != nil {
			return err
		}
		configuration, err := admissionConfiguration(o.ControlPlaneDir)
		if err != nil {
			return err
		}
		agent, err := agentFiles(o.namespace(), ca.bundle, o.Subject)
		if err != nil {
			return err
		}
		files = append(files, file{"ca.key", ca.encodedKey, 0o600}, file{"ca.crt", ca.bundle, 0o644},
			file{controlPlane("kubeconfig.yaml"), kubeconfig, 0o600}, file{controlPlane("admission.yaml"), configuration, 0o644})
		files = append(files, agent...)
	}
	if err := write(o.OutputDir, files, o.Renew); err != nil {
		return err
	}
	for _, one := range files {
		fmt.Fprintln(o.Out, filepath.Join(o.OutputDir, one.name))
	}
	fmt.Fprint(o.ErrOut, o.instructions(now))
	return nil
}

func (o *Options) instructions(now time.Time) string {
	until := now.Add(o.ValidFor).UTC().Format(time.DateOnly)
	if o.Renew {
		return fmt.Sprintf("Copy client.crt and client.key into %s on each machine of the control plane. API servers read them again\n"+
			"within minutes, without a restart. They are valid until %s.\n", o.ControlPlaneDir, until)
	}
	return fmt.Sprintf(`
1. Copy the files of %[1]s to %[2]s on each machine of the control plane. Only the API server may read them.
2. Start each API server with --admission-control-config-file=%[2]s/admission.yaml. With kubeadm: add the flag
   and a hostPath volume for %[2]s to /etc/kubernetes/manifests/kube-apiserver.yaml. If an API server already
   uses such a file, add the two plugins of admission.yaml to that file.
3. When every API server uses the flag, make the agent require the certificate:
   kubectl nodecleanup install -k %[3]s
   Before that, the agent would reject API servers, and nodes would get the finalizer only later.
4. Verify the result: kubectl nodecleanup check
Store %[4]s outside the cluster. The client certificate expires on %[5]s. To renew it before that:
   kubectl nodecleanup webhook-auth generate --renew --output-dir %[6]s
`, filepath.Join(o.OutputDir, "control-plane"), o.ControlPlaneDir, filepath.Join(o.OutputDir, "agent"), filepath.Join(o.OutputDir, "ca.key"), until, o.OutputDir)
}
