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
		Short: "Write the client certificate, and the files that have the API server show it",
		Long: `Write a client certificate, and the files that have the API server show it to the
webhook; and a kustomization that has the agent demand it. No cluster is asked.

This needs a control plane whose API server takes --admission-control-config-file;
managed ones do not. The files for it are in the folder control-plane, those for the
agent in the folder agent. The key of the CA stays in the folder above both: keep it
where neither the cluster nor its nodes can read it.

With --renew the CA that is in the folder signs a new client certificate, and nothing
else changes. API servers read it again by themselves.`,
		Example: `  # Everything, in the folder webhook-auth
  kubectl nodecleanup webhook-auth generate

  # A year later, by the same CA
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
	flags.StringVar(&o.OutputDir, "output-dir", "webhook-auth", "Folder to write into; it is made")
	flags.StringVar(&o.ControlPlaneDir, "control-plane-dir", "/etc/kubernetes/nodecleanup", "Where the files of control-plane will be on each machine of the control plane")
	flags.StringSliceVar(&o.Hosts, "webhook-host", nil, "Host of the webhook, with the port if it is not 443 (default: the agent's Service)")
	flags.StringVar(&o.Subject, "subject", api.WebhookClientSubject, "Common name in the client certificate, as --webhook-client-subjects of the agent has it")
	flags.DurationVar(&o.ValidFor, "valid-for", 365*24*time.Hour, "Validity of the client certificate")
	flags.BoolVar(&o.Renew, "renew", false, "Make a new client certificate by the CA that is in the folder")
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
			"within minutes, without a restart. They are good until %s.\n", o.ControlPlaneDir, until)
	}
	return fmt.Sprintf(`
1. Copy the files of %[1]s into %[2]s on each machine of the control plane,
   readable by the API server alone.
2. Start each API server with --admission-control-config-file=%[2]s/admission.yaml. With kubeadm: add the flag
   and a hostPath volume for %[2]s to /etc/kubernetes/manifests/kube-apiserver.yaml. An API server that has
   such a file already needs the two plugins of admission.yaml in it.
3. When all of them run so, have the agent demand the certificate:
   kubectl nodecleanup install -k %[3]s
   Until step 2 is done everywhere, nodes would be created without the finalizer, and get it moments later.
4. See that it works: kubectl nodecleanup check
Keep %[4]s away from the cluster. The client certificate is good until %[5]s; renew it before:
   kubectl nodecleanup webhook-auth generate --renew --output-dir %[6]s
`, filepath.Join(o.OutputDir, "control-plane"), o.ControlPlaneDir, filepath.Join(o.OutputDir, "agent"), filepath.Join(o.OutputDir, "ca.key"), until, o.OutputDir)
}
