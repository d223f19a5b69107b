// Package install is the command that installs the agent on a cluster or upgrades it.
package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/check"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout
	// Catalog returns the plugins that a config can name.
	Catalog func() []cleanup.Descriptor

	DryRun         string
	Output         string
	Image          string
	Replicas       int32
	replicasGiven  bool
	ConfigFile     string
	AgentURL       string
	Admission      string
	ForceConflicts bool
	Diff           bool
	Set            map[string]string
	Kustomization  string
	ResetValues    bool
	AllowDowngrade bool
	Wait           bool

	config []byte // of ConfigFile
}

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

// New returns the command.
func New(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	o := &Options{Environment: environment, Catalog: catalog}
	cmd := &cobra.Command{
		Use:     "install",
		Aliases: []string{"upgrade"},
		Short:   "Install or upgrade the agent",
		Long: `Install or upgrade the agent.

You can run the command again at any time: it changes only objects that differ, and
creates missing ones. It keeps the config unless --config or a kustomization (-k) replaces
it, and the number of replicas unless you set --replicas. It reuses the previous --image,
--admission and --set unless you set them again or use --reset-values. If the tag of your
--image was the version of the previous CLI, install changes the tag to the version of
this CLI.

Before install changes anything, it checks the server's version and your rights, and sends
every object in a dry run. It deletes objects of an earlier install that this version no
longer contains, if they still have the label of nodecleanup.`,
		Example: `  # Install with the default config: drain each node before it is removed
  kubectl nodecleanup install --wait

  # Install with your config, or change it; install validates it first
  kubectl nodecleanup install --config nodecleanup.yaml --wait

  # Show what an upgrade would change
  kubectl nodecleanup upgrade --diff`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.replicasGiven = cmd.Flags().Changed("replicas")
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.DryRun, "dry-run", dryRunNone, "One of none, client or server. client prints the objects without contacting a cluster. server validates them in the API server and stores nothing. --dry-run alone means client")
	flags.Lookup("dry-run").NoOptDefVal = dryRunClient
	command.AddOutput(cmd, &o.Output, "", printer.ObjectFormats(), " (default: one line for each object)")
	flags.StringVar(&o.Image, "image", "", "Image of the agent (default: "+install.Repository+" at this CLI's version)")
	flags.Int32Var(&o.Replicas, "replicas", 2, "Number of agent replicas. If an agent is installed and you omit the flag, the number does not change")
	flags.StringVar(&o.ConfigFile, "config", "", "File with the config, or - for stdin (default: keep the config on the cluster)")
	flags.StringVar(&o.Admission, "admission", "", "How new nodes get the finalizer: webhook, policy (Kubernetes 1.36 and newer) or auto. auto, the default, uses both if the API server supports the policy, otherwise the webhook")
	flags.StringVar(&o.AgentURL, "agent-url", "", "For development: URL of an agent outside the cluster, such as https://127.0.0.1:9443. Set it at each install: without it, the agent is installed in the cluster")
	flags.BoolVar(&o.ForceConflicts, "force-conflicts", false, "Take over fields that another client has changed")
	flags.BoolVar(&o.Diff, "diff", false, "Show what would change, line by line; stores nothing")
	flags.StringToStringVar(&o.Set, "set", nil, "Change a field: "+strings.Join(install.SettingNames(), ", ")+"")
	flags.BoolVar(&o.ResetValues, "reset-values", false, "Use the defaults instead of the previous --image, --admission, --set and kustomization")
	flags.BoolVar(&o.AllowDowngrade, "allow-downgrade", false, "Replace a newer version")
	flags.StringVarP(&o.Kustomization, "kustomize", "k", "", "Folder of a kustomization with the resource "+install.BaseName+", which stands for the objects that this CLI would apply")
	flags.BoolVar(&o.Wait, "wait", false, "Wait until the agent is available, answers admission and leads; then show its state")
	o.AddTimeout(flags, 5*time.Minute)
	return cmd
}

// Validate checks the flags, and the config against the catalog; no server is asked.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	if o.Output != "" {
		// The lines of the install already contain the columns of a table.
		if slices.Contains([]string{string(printer.Table), string(printer.Wide), string(printer.Short)}, o.Output) {
			return exit.Usagef("unknown output format %q: use one of: %s", o.Output, strings.Join(printer.ObjectFormats(), ", "))
		}
		if err := command.CheckFormat(o.Output, printer.ObjectFormats()); err != nil {
			return err
		}
	}
	switch {
	case !slices.Contains([]string{dryRunNone, dryRunClient, dryRunServer}, o.DryRun):
		return exit.Usagef("unknown --dry-run=%s: it is none, client or server", o.DryRun)
	case o.Diff && (o.DryRun == dryRunClient || o.Output != ""):
		return exit.Usagef("--diff compares with the cluster and has no output format: it cannot be combined with --dry-run=client or -o")
	case o.Wait && (o.DryRun != dryRunNone || o.Diff):
		return exit.Usagef("--wait cannot be combined with --dry-run or --diff")
	}
	if o.ConfigFile != "" {
		if err := o.readConfig(); err != nil {
			return err
		}
	}
	if err := o.options("").Validate(); err != nil {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	return nil
}

func (o *Options) options(namespace string) install.Options {
	options := install.Options{Namespace: namespace, Image: o.Image, Config: o.config, AgentURL: o.AgentURL, Admission: install.Admission(o.Admission), Set: o.Set, Kustomization: o.Kustomization}
	if o.replicasGiven {
		options.Replicas = &o.Replicas
	}
	return options
}

// Run renders, applies and waits.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	if o.DryRun == dryRunClient {
		return o.render(ctx)
	}
	clients, err := o.Cluster.Clients()
	if err != nil {
		return err
	}
	namespace, err := o.namespace(ctx, clients)
	if err != nil {
		return err
	}
	if err := o.notHelms(ctx, clients); err != nil {
		return err
	}
	if err := mayInstall(ctx, clients.Typed, namespace); err != nil {
		return err
	}
	options, err := o.completed(ctx, clients, namespace)
	if err != nil {
		return err
	}
	settings, err := o.checkConfig(ctx, clients.Typed, options)
	if err != nil {
		return err
	}
	o.SayWarnings(settings)
	if options.StepRules, err = stepRules(ctx, clients.Typed, options.Namespace, settings); err != nil {
		return err
	}
	applier := install.Applier{Objects: clients.Dynamic, DryRun: true, ForceConflicts: o.ForceConflicts}
	if o.DryRun == dryRunServer && o.Output == "" && !o.Diff {
		applier.Report = o.line
	}
	// The server checks everything before anything is stored.
	results, err := applier.Apply(ctx, options)
	if err != nil {
		return explain(err)
	}
	if o.Diff {
		return o.diff(results)
	}
	if o.DryRun == dryRunNone {
		applier.DryRun = false
		if o.Output == "" {
			applier.Report = o.line
		}
		if results, err = applier.Apply(ctx, options); err != nil {
			return explain(err)
		}
	}
	if o.Output != "" {
		return printer.Objects(o.Out, printer.Format(o.Output), objects(results))
	}
	if o.Wait {
		if err := (install.Waiter{Objects: clients.Dynamic, Report: func(line string) { o.Say("%s", line) }}).Wait(ctx, options); err != nil {
			return explainWait(err, options.Namespace)
		}
		o.Say("The agent is available and answers admission.")
		return o.check(ctx, clients.Typed, namespace)
	}
	if o.DryRun == dryRunNone {
		if detail, fix := check.MissingSecret(ctx, clients.Typed, namespace, o.Catalog()); detail != "" && options.Config != nil {
			o.Say("WARNING: %s. Create it: %s", detail, fix)
		}
		o.Say("Show its state: kubectl nodecleanup status")
	}
	return nil
}

func (o *Options) render(ctx context.Context) error {
	options, own := o.options(o.Cluster.GivenNamespace()), preview.Catalog{Plugins: o.Catalog()}
	rendered, err := renderObjects(ctx, options)
	if err != nil {
		return err
	}
	var settings *config.Config
	if o.config != nil {
		if settings, err = o.valid(o.config, o.ConfigFile, own, options); err != nil {
			return err
		}
	}
	if brought, err := o.checkBrought(options, rendered, own); err != nil {
		return err
	} else if brought != nil {
		settings = brought
	}
	if settings != nil {
		options.StepRules = access.OfConfig(settings)
		if rendered, err = renderObjects(ctx, options); err != nil {
			return err
		}
	}
	if o.Output != "" {
		return printer.Objects(o.Out, printer.Format(o.Output), rendered)
	}
	for _, object := range rendered {
		o.print(install.Result{Action: "rendered", Object: object}, " (client dry run)")
	}
	return nil
}

// completed fills unset options from the previous install.
func (o *Options) completed(ctx context.Context, clients command.Clients, namespace string) (install.Options, error) {
	options := o.options(namespace)
	previous, err := install.ReadPreviousOptions(ctx, clients.Dynamic, namespace)
	switch {
	case err != nil:
		return options, err
	case previous.Newer() && !o.AllowDowngrade:
		return options, &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("installing %s over %s, which is newer", version.Version, previous.Version),
			Next: "Use a CLI of that version or newer: kubectl krew upgrade nodecleanup\n  or:  Downgrade anyway: add --allow-downgrade.",
		}
	case o.ResetValues:
		return options, nil
	case previous.Kustomized && o.Kustomization == "":
		return options, &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("installing into namespace %s without a kustomization: the previous install used one, and its changes would be removed", namespace),
			Next: "Specify its directory again with -k. To continue without it: --reset-values",
		}
	}
	options, kept := previous.Complete(options)
	if len(kept) > 0 {
		o.Say("Reusing values from the previous install: %s (use --reset-values to start from the defaults)", strings.Join(kept, ", "))
	}
	return options, nil
}

// notHelms returns an error for an install that Helm manages: the next upgrade would undo this
// install, or conflict with its fields. A forbidden read is not an error here.
func (o *Options) notHelms(ctx context.Context, clients command.Clients) error {
	binding, err := clients.Typed.RbacV1().ClusterRoleBindings().Get(ctx, api.Agent, metav1.GetOptions{})
	if err != nil || !install.ByHelm(binding) || o.ForceConflicts {
		return nil
	}
	return &exit.Error{
		Code: exit.Failure, Err: fmt.Errorf("installing: nodecleanup was installed by Helm (release %s in namespace %s)",
			binding.Annotations[install.AnnotationHelmRelease], binding.Annotations[install.AnnotationHelmNamespace]),
		Next: "Upgrade the release: " + install.HelmUpgrade(binding) + "\n  or:  To take it over from Helm, add --force-conflicts.",
	}
}

// namespace also refuses a second install: the objects that belong to no
// namespace would be taken from the first.
func (o *Options) namespace(ctx context.Context, clients command.Clients) (string, error) {
	namespace, err := o.Cluster.Namespace(ctx, clients.Typed)
	if err != nil {
		return "", err
	}
	return namespace, command.CheckNamespace(ctx, clients.Typed, namespace, "installing into",
		"Leave --namespace out to upgrade it, or remove it first: kubectl nodecleanup uninstall")
}
