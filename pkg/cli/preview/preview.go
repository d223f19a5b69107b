// Package preview computes the plan of a cleanup from the config on the cluster, with the
// operator's own rights. It changes nothing.
package preview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Previewer plans by one config, for any number of nodes at the same time.
type Previewer struct {
	client    kubernetes.Interface
	namespace string
	config    *config.Config
	summaries map[string]string
	// took holds the durations of each step in past successful runs.
	took  map[string][]time.Duration
	notes []string

	readVolumes sync.Once
	// attached are the volumes by node.
	attached    map[string][]string
	attachedErr error

	readSchedulable sync.Once
	// schedulable names up to two Nodes.
	schedulable    []string
	schedulableErr error
}

// Load reads the config on the cluster and the past runs. Now is the API server's time.
func Load(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) (*Previewer, error) {
	catalog := ReadCatalog(ctx, client, namespace, plugins.All(plugins.Dependencies{
		Kubernetes: client,
		HTTP:       &http.Client{Transport: httpclient.Offline{}},
		Secrets:    secrets{client, namespace},
		Clock:      clock.RealClock{},
		Namespace:  namespace,
	}))
	settings, err := catalog.Config(ctx, client, namespace)
	if err != nil {
		return nil, untilFixed(ctx, client, namespace, now, err)
	}
	p := &Previewer{client: client, namespace: namespace, config: settings, summaries: map[string]string{}, took: map[string][]time.Duration{}}
	for _, descriptor := range catalog.Plugins {
		p.summaries[descriptor.Name] = descriptor.Summary
	}
	if catalog.Note != "" {
		p.notes = append(p.notes, catalog.Note)
	}
	return p, p.lookBack(ctx)
}

// untilFixed adds to the error of an invalid config that the agent uses the last valid one. Only a leader does: an
// agent does not start with an invalid config.
func untilFixed(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, err error) error {
	var faults config.Errors
	var invalid *exit.Error
	if !errors.As(err, &faults) || !errors.As(err, &invalid) {
		return err
	}
	lease := cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: now}
	if leadership, unread := lease.Read(ctx); unread == nil && leadership.HasLeader { // Without the right to read it, it is not known.
		invalid.Next += " Until then, the agent uses the last valid config."
	}
	return err
}

// Settings returns the config by which the Previewer plans.
func (p *Previewer) Settings() *config.Config { return p.config }

// Config reads the config on the cluster, and checks it by the plugins of the agent: see ReadCatalog.
func Config(ctx context.Context, client kubernetes.Interface, namespace string) (*config.Config, error) {
	own := plugins.All(plugins.Dependencies{Kubernetes: client, Clock: clock.RealClock{}, Namespace: namespace})
	return ReadCatalog(ctx, client, namespace, own).Config(ctx, client, namespace)
}

// RestoreConfig returns the next step if the config was deleted: it restores the config that the agent accepted last,
// if the agent has published it. The status is nil if it is not known. An install without --config would replace custom
// steps with the default steps.
func RestoreConfig(status *api.AgentStatus) string {
	if status != nil && status.AcceptedConfig != "" {
		return api.RestoreConfig
	}
	return "kubectl nodecleanup install --config FILE (without --config, the default steps are installed)"
}

// ErrNoConfig is the error of ReadConfig if the ConfigMap does not exist.
var ErrNoConfig = errors.New("there is no configmap " + api.ConfigName)

// ReadConfig returns the ConfigMap with the config on the cluster.
func ReadConfig(ctx context.Context, client kubernetes.Interface, namespace string) (*corev1.ConfigMap, error) {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, api.ConfigName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		missing := noConfig(ctx, client, namespace, fmt.Errorf("reading the config: %w in namespace %s", ErrNoConfig, namespace))
		if missing.Next == "" {
			missing.Next = "If it is installed in another namespace, set --namespace. Otherwise, install it: " + RestoreConfig(nil)
		}
		return nil, missing
	case err != nil:
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	if _, found := configMap.Data[api.ConfigKey]; !found {
		missing := noConfig(ctx, client, namespace, fmt.Errorf("reading the config: configmap %s/%s "+api.ConfigHasNoKey, namespace, api.ConfigName))
		if missing.Next == "" {
			missing.Next = "Install a config: " + RestoreConfig(nil)
		}
		return nil, missing
	}
	return configMap, nil
}

// noConfig adds the next step to the error that there is no config, if an agent has accepted one before.
func noConfig(ctx context.Context, client kubernetes.Interface, namespace string, err error) *exit.Error {
	missing := &exit.Error{Code: exit.Failure, Err: err}
	if status, unread := cluster.AgentStatus(ctx, client, namespace); unread == nil && status != nil && status.AcceptedConfig != "" {
		missing.Next = "Restore the config that the agent accepted last: " + RestoreConfig(status)
	}
	return missing
}

// Config reads the config on the cluster, and checks it.
func (c Catalog) Config(ctx context.Context, client kubernetes.Interface, namespace string) (*config.Config, error) {
	configMap, err := ReadConfig(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	settings, err := c.Parse([]byte(configMap.Data[api.ConfigKey]))
	if err != nil {
		return nil, &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("checking the config in configmap %s/%s:%w", namespace, api.ConfigName, Indented{err}),
			Next: "Fix the lines above: kubectl nodecleanup config edit.",
		}
	}
	return settings, nil
}

// Parse reads a config. Its error holds config.Errors, and the note of the catalog if there is one.
func (c Catalog) Parse(data []byte) (*config.Config, error) {
	settings, err := config.Parse(data, c.Plugins)
	if err != nil && c.Note != "" {
		err = fmt.Errorf("%w\n%s", err, c.Note)
	}
	return settings, err
}

// Indented writes each fault of a config on its own line.
type Indented struct{ Err error }

// Error returns the faults.
func (i Indented) Error() string { return "\n  " + strings.ReplaceAll(i.Err.Error(), "\n", "\n  ") }

// Unwrap returns the faults as one error.
func (i Indented) Unwrap() error { return i.Err }

// lookBack reads past runs for the estimate, and checks whether the agent uses the same config. It
// notes unreadable objects: a plan is useful without them.
func (p *Previewer) lookBack(ctx context.Context) error {
	err := cluster.EachRun(ctx, p.client, p.namespace, func(configMap *corev1.ConfigMap) {
		run, err := api.ReadRun(configMap)
		if err != nil || run.State != api.Succeeded || run.DryRun {
			return // The command history reports undecodable records.
		}
		for _, step := range run.Steps {
			if step.State == api.StepSucceeded && step.StartedAt != nil && step.FinishedAt != nil {
				p.took[step.Name] = append(p.took[step.Name], step.FinishedAt.Sub(step.StartedAt.Time))
			}
		}
	})
	if err := p.noteForbidden("past runs, so there is no estimate", err); err != nil {
		return err
	}
	status, err := cluster.AgentStatus(ctx, p.client, p.namespace)
	if err := p.noteForbidden("the agent's status, so it is not known which config it uses", err); err != nil {
		return err
	}
	if status != nil && status.ConfigHash != "" && status.ConfigHash != p.config.Hash {
		p.notes = append(p.notes, fmt.Sprintf("the agent uses config %s, and this plan uses config %s from the ConfigMap: kubectl nodecleanup status", status.ConfigHash, p.config.Hash))
	}
	return nil
}

// noteForbidden turns a lack of rights into a note, and returns every other error.
func (p *Previewer) noteForbidden(what string, err error) error {
	if apierrors.IsForbidden(err) {
		p.notes = append(p.notes, "you are not allowed to read "+what)
		return nil
	}
	return err
}

// Plan returns the plan of a cleanup of the node.
func (p *Previewer) Plan(ctx context.Context, node *corev1.Node) (*printer.Plan, error) {
	view := printer.NewPlan(node.Name)
	view.NodeUID, view.DryRun, view.Deleting, view.Notes = string(node.UID), p.config.DryRun, node.DeletionTimestamp != nil, slices.Clone(p.notes)
	if !p.config.NodeSelector.Matches(labels.Set(node.Labels)) {
		out := fmt.Sprintf("the config's nodeSelector %q does not select this node", p.config.NodeSelector)
		if !api.HasFinalizer(node) {
			view.Unprotected = out + "; if deleted, it is removed immediately"
			return view, nil
		}
		// It was chosen once. The agent takes the finalizer off no Node that is not cleaned up.
		view.Excluded = out + ", but it still has the finalizer: if deleted, it is cleaned up anyway"
		view.Notes = append(view.Notes, view.Excluded)
	}
	planned := plan.Build(p.config.Steps, node)
	for _, skip := range planned.Skipped {
		view.Skipped = append(view.Skipped, printer.SkippedStep{Name: skip.Step.Name, Reason: skip.Reason})
	}
	for i, wave := range planned.Waves {
		for _, step := range wave {
			if err := p.step(ctx, view, i+1, step, node); err != nil {
				return nil, err
			}
		}
	}
	if err := p.blockWithoutSecrets(ctx, view, planned.Steps()); err != nil {
		return nil, err
	}
	view.Hash = hash(planned, node, p.config, view)
	if err := p.room(ctx, view); err != nil {
		return nil, err
	}
	view.EstimateSeconds = int64(p.estimate(planned).Seconds())
	return view, p.volumes(ctx, view)
}

// hash returns the hash of the plan, or "" if the preview of a step has failed.
func hash(planned plan.Plan, node *corev1.Node, settings *config.Config, view *printer.Plan) string {
	if view.NoHash != "" {
		return ""
	}
	effects := map[string][]cleanup.Effect{}
	for _, step := range view.Steps {
		effects[step.Name] = step.Effects
	}
	return planned.Hash(node.UID, settings).WithEffects(effects).String()
}

func (p *Previewer) step(ctx context.Context, view *printer.Plan, wave int, step config.Step, node *corev1.Node) error {
	row := printer.PlanStep{Wave: wave, Name: step.Name, Plugin: step.Plugin, Critical: step.Critical, Summary: p.summaries[step.Plugin]}
	if absent, is := step.Bound.(Absent); is {
		row.Summary = "effects not known: " + absent.Why
		view.NoHash = fmt.Sprintf("step %s cannot be previewed: %s", step.Name, absent.Why)
	}
	if previewer, can := step.Bound.(cleanup.Previewer); can {
		effects, err := previewer.Preview(ctx, cleanup.Target{
			Node: node, Step: step.Name, Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/" + step.Name,
			Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsForbidden(err):
			row.Summary = "not known: you lack the rights"
			view.NoHash = fmt.Sprintf("you lack the rights to preview step %s", step.Name)
			view.Notes = append(view.Notes, fmt.Sprintf("step %s could not be previewed: %v", step.Name, err))
		case err != nil:
			row.Summary = "not known: " + err.Error()
			view.NoHash = fmt.Sprintf("step %s cannot be previewed", step.Name)
			view.Blocked = append(view.Blocked, printer.Blocker{What: "step " + step.Name, Reason: err.Error()})
		default:
			row.Effects = effects
			row.Summary = summarize(step, effects)
			view.Blocked = append(view.Blocked, blockers(step, effects)...)
			if note := unchecked(effects); note != "" {
				view.Notes = append(view.Notes, note)
			}
		}
	}
	view.Steps = append(view.Steps, row)
	return nil
}

// blockWithoutSecrets adds a blocker for each Secret that is missing or lacks a key.
func (p *Previewer) blockWithoutSecrets(ctx context.Context, view *printer.Plan, steps []config.Step) error {
	var places []string
	for _, step := range steps {
		places = append(places, "step "+step.Name)
	}
	if len(places) == 0 {
		return nil
	}
	for _, secret := range UsedSecrets(p.config, places...) {
		missing, err := secret.Missing(ctx, p.client, p.namespace)
		switch {
		case missing != nil:
			view.Blocked = append(view.Blocked, printer.Blocker{What: strings.Join(missing.Places, ", "), Reason: missing.Error(), Remedy: missing.Command()})
		case err == nil:
		case apierrors.IsForbidden(err):
			view.Notes = append(view.Notes, fmt.Sprintf("you are not allowed to read secret %s of %s: not checked whether it exists", secret.Name, strings.Join(secret.Places, ", ")))
		default:
			return err
		}
	}
	return nil
}
