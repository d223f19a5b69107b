// Package pause holds the commands that pause and resume all cleanups.
package pause

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Options of both commands.
type Options struct {
	*command.Environment

	// Pause: false resumes.
	Pause  bool
	Reason string
}

// New returns the command that pauses.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment, Pause: true}
	cmd := &cobra.Command{
		Use:   "pause --reason TEXT",
		Short: "Pause all cleanups that have not started",
		Long: `Pause all cleanups that have not started, on every node, until you run ` + "`resume`" + `.

Nodes can still be deleted: they wait, and their condition says why. A cleanup that has
begun runs all its steps. A bypass still releases its node.

` + "`status`" + ` and an Event show who paused, when and why. The pause is stored in the cluster, so it
survives restarts of the agent. If no agent runs, it takes effect when one starts.`,
		Example: `  # While the storage array is being repaired
  kubectl nodecleanup pause --reason "storage array down, INC-4711"

  # Afterwards
  kubectl nodecleanup resume`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "Reason, shown on each node that waits (required)")
	return cmd
}

// NewResume returns the command that resumes.
func NewResume(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Resume cleanups after a pause, or release the brake",
		Long: `End a pause, or release the brake of the config. The cleanups of all waiting nodes
begin, as many at the same time as concurrency.nodes in the config allows.

After a release, only new deletions, refused requests or alerts engage the brake again.
A closed maintenance window stays closed.`,
		Example: `  kubectl nodecleanup resume --reason "storage array repaired"`,
		Args:    command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "Reason, kept on the record")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	var err error
	if o.Reason, err = command.CleanReason(o.Reason); err != nil {
		return err
	}
	if o.Pause && o.Reason == "" {
		return exit.Usagef("pausing all cleanups needs a --reason")
	}
	return nil
}

// Run stores the request.
func (o *Options) Run(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	configMaps := clients.Typed.CoreV1().ConfigMaps(namespace)
	status, err := configMaps.Get(ctx, api.StatusName, metav1.GetOptions{})
	exists := !apierrors.IsNotFound(err)
	if exists && err != nil {
		return fmt.Errorf("reading whether cleanups are paused: %w", err)
	}
	var pause api.Pause
	var brake api.Brake
	var broken error
	if exists {
		pause = api.PauseOf(status)
		brake, broken = api.BrakeOf(status)
	}
	engaged := brake.Engaged(pause)
	if !o.Pause && !pause.Paused && !engaged && broken == nil {
		fmt.Fprintln(o.Out, "cleanups are not paused")
		o.sayWindow(brake)
		return nil
	}
	if pause.Paused {
		o.Say("Previously: %s.", pause)
	}
	if engaged {
		o.Say("Previously: %s.", brake)
	}
	if broken != nil {
		o.Say("The stored state of the brake is removed, because it cannot be used: %v.", broken)
	}
	at := o.ServerTime()
	if engaged && at.Before(brake.Since.Time) { // A resume releases the brake only if it is not older.
		at = brake.Since.Time
	}
	if err := o.store(ctx, clients.Typed, namespace, exists, broken != nil, at); err != nil {
		return err
	}
	o.WarnWithoutLeader(ctx, clients.Typed, namespace)
	if !o.Pause {
		fmt.Fprintln(o.Out, "cleanups resumed")
		o.sayWindow(brake)
		return nil
	}
	fmt.Fprintln(o.Out, "cleanups paused")
	o.Say("Cleanups that have begun continue: kubectl nodecleanup status. To end the pause: kubectl nodecleanup resume")
	return nil
}

// sayWindow prints a note that a resume opens no maintenance window.
func (o *Options) sayWindow(brake api.Brake) {
	if opens := brake.WindowOpensAt; opens != nil {
		o.Say("Cleanups begin when the next maintenance window opens, at %s.", opens.UTC().Format(time.RFC3339))
	}
}

// store writes the request on the status, which exists once an agent was started. It removes a state
// of the brake that cannot be decoded; the leader writes it again.
func (o *Options) store(ctx context.Context, client kubernetes.Interface, namespace string, exists, broken bool, at time.Time) error {
	what := "resuming cleanups"
	if o.Pause {
		what = "pausing cleanups"
	}
	annotations := map[string]any{
		api.AnnotationPause:       fmt.Sprint(o.Pause),
		api.AnnotationPauseBy:     command.WhoAmI(ctx, client),
		api.AnnotationPauseAt:     at.UTC().Format(time.RFC3339),
		api.AnnotationPauseReason: o.Reason,
	}
	configMaps := client.CoreV1().ConfigMaps(namespace)
	if !exists {
		_, err := configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: api.StatusName, Labels: map[string]string{api.LabelName: api.LabelNameValue},
		}}, metav1.CreateOptions{FieldManager: api.FieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return &exit.Error{
				Code: exit.Failure, Err: fmt.Errorf("%s: no agent was ever started in namespace %s, so there is no configmap %s, and creating it failed: %w", what, namespace, api.StatusName, err),
				Next: "Install and start the agent, then run it again: kubectl nodecleanup install --wait",
			}
		}
	}
	change := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if broken {
		change["data"] = map[string]any{api.BrakeKey: nil}
	}
	patch, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, err := configMaps.Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager}); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
