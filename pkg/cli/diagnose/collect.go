package diagnose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// found holds the facts that were read about one node.
type found struct {
	name      string
	namespace string
	// now is the API server's time.
	now func() time.Time
	// node is nil when it is deleted; then run is the newest of its records.
	node *corev1.Node
	run  *api.Run
	// unreadable is the decode error of the run record. undecodable holds the decode error of each
	// record of a deleted node.
	unreadable  error
	undecodable []error
	agent       *inspect.Snapshot
	events      []corev1.Event
	pods        []corev1.Pod
	budgets     []policyv1.PodDisruptionBudget
	// pending Pods of all nodes, read if a budget blocks.
	pending []corev1.Pod
	// denied are the evictions that the API server would reject now although no readable budget
	// explains it.
	denied []cleanup.Effect
	// forbidden are the Pods that the options of a step neither evict nor leave, so that it evicts none.
	forbidden []forbidden
	volumes   []string
	// refused is why the config on the cluster is bad.
	refused error
	// noConfig: there is no config on the cluster.
	noConfig bool
	// deadline is the deadline of the config.
	deadline config.Deadline
	// selector is the node selector of the config, nil if the config could not be read.
	selector labels.Selector
	// planned are the configured steps for the node; nil if the config could not be read.
	planned []config.Step
	// missing are the missing Secrets of remaining steps.
	missing []*preview.MissingSecret
	// invalid is the error that the API server returns for any update of the node.
	invalid error
	// config is the config on the cluster, nil if it could not be read or is not valid.
	config *config.Config
	// rights are those that the agent lacks for the remaining steps, nil if they could not be read.
	rights *rights.Report
	// evidence names the objects that were read, unread the objects that could not be read, with
	// the causes.
	evidence []string
	unread   []printer.Unread
}

// evictionsRead is the evidence that the dry run of the evictions succeeded.
const evictionsRead = "evictions (dry run)"

// collect reads every fact that it can. Only the node itself must be readable.
func collect(ctx context.Context, client kubernetes.Interface, namespace, name string, now func() time.Time) (*found, error) {
	f := &found{name: name, namespace: namespace, now: now}
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if f.run, f.undecodable, err = cluster.NewestRun(ctx, client, namespace, name); err != nil {
			return nil, err
		}
		if f.run == nil && len(f.undecodable) == 0 {
			_, err := command.Node(ctx, client, name)
			return nil, err
		}
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", name, err)
	}
	f.node = node
	for _, part := range []struct {
		what string
		read func(context.Context, kubernetes.Interface) error
	}{
		{"agent", f.readAgent}, {"run record", f.readRun}, {"events", f.readEvents}, {"config", f.readConfig},
		{"pods", f.readPods}, {"budgets", f.readBudgets}, {evictionsRead, f.tryEvictions}, {"volumes", f.readVolumes},
		{"update of the node (dry run)", f.tryUpdate}, {"rights of the agent", f.readRights},
	} {
		if err := part.read(ctx, client); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("reading %s: %w", part.what, err)
			}
			f.unread = append(f.unread, printer.Unread{What: part.what, Why: err.Error()})
			continue
		}
		f.evidence = append(f.evidence, part.what)
	}
	return f, nil
}

func (f *found) readAgent(ctx context.Context, client kubernetes.Interface) (err error) {
	f.agent, err = inspect.NewReader(client, f.namespace, f.now).Agent(ctx)
	return err
}

func (f *found) readRun(ctx context.Context, client kubernetes.Interface) error {
	configMap, err := client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.RunName(f.name, f.node.UID), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	f.run, f.unreadable = api.ReadRunOf(configMap, f.node.UID)
	return nil
}

func (f *found) readEvents(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.kind": "Node", "involvedObject.uid": string(f.node.UID)}.String(),
	})
	if err != nil {
		return err
	}
	f.events = list.Items
	slices.SortFunc(f.events, func(a, b corev1.Event) int { return cmp.Compare(seenAt(a).Unix(), seenAt(b).Unix()) })
	return nil
}

func seenAt(event corev1.Event) metav1.Time {
	switch {
	case event.Series != nil:
		return metav1.NewTime(event.Series.LastObservedTime.Time)
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp
	}
	return metav1.NewTime(event.EventTime.Time)
}

// readConfig checks the config, and the secrets of this node's remaining steps.
func (f *found) readConfig(ctx context.Context, client kubernetes.Interface) error {
	settings, err := preview.Config(ctx, client, f.namespace)
	var faults config.Errors
	switch {
	case errors.As(err, &faults):
		f.refused = faults
		return nil
	case err != nil:
		f.noConfig = errors.Is(err, preview.ErrNoConfig)
		return err
	}
	f.config, f.deadline, f.selector = settings, settings.Deadline, settings.NodeSelector
	f.planned = plan.Build(settings.Steps, f.node).Steps()
	var places []string
	for _, step := range f.planned {
		if f.ahead(step.Name) {
			places = append(places, "step "+step.Name)
		}
	}
	if len(places) > 0 {
		f.missing, err = preview.MissingSecrets(ctx, client, f.namespace, settings, places...)
	}
	return err
}

// ahead reports whether a step remains to be done. If there is a run, its steps are the plan, even
// if the config has changed. A failed step runs only on request.
func (f *found) ahead(step string) bool {
	if f.run == nil || len(f.run.Steps) == 0 {
		return true
	}
	run := f.run.Step(step)
	return run != nil && run.State != api.StepSucceeded && run.State != api.StepSkipped
}

// waitsFor reports whether a step of one of these plugins remains to be done. It is true if
// neither a run nor the config is known.
func (f *found) waitsFor(plugins ...string) bool {
	if f.run != nil && len(f.run.Steps) > 0 {
		return slices.ContainsFunc(f.run.Steps, func(step api.StepRun) bool { return slices.Contains(plugins, step.Plugin) && f.ahead(step.Name) })
	}
	return f.planned == nil || slices.ContainsFunc(f.planned, func(step config.Step) bool { return slices.Contains(plugins, step.Plugin) })
}

func (f *found) readPods(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", f.name).String()})
	if err != nil {
		return err
	}
	f.pods = list.Items
	return nil
}

func (f *found) readBudgets(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	f.budgets = list.Items
	if budget(f, time.Time{}) == nil {
		return nil
	}
	pending, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
	if err != nil {
		return fmt.Errorf("listing the pending pods: %w", err)
	}
	f.pending = pending.Items
	return nil
}

// tryEvictions sends dry-run evictions, which an admission webhook or policy can deny. If a known budget blocks,
// the budget is the cause, and only Pods that the options forbid to evict count.
func (f *found) tryEvictions(ctx context.Context, client kubernetes.Interface) error {
	if !f.held() || !f.waitsFor(api.DrainPlugin) {
		return nil
	}
	budgeted := budget(f, time.Time{}) != nil
	for _, step := range f.planned {
		previewer, can := step.Bound.(cleanup.Previewer)
		if step.Plugin != api.DrainPlugin || !can || !f.ahead(step.Name) {
			continue
		}
		effects, err := previewer.Preview(ctx, cleanup.Target{
			Node: f.node, Step: step.Name, Attempt: 1, Began: f.now(), IdempotencyKey: string(f.node.UID) + "/" + step.Name,
			Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
		})
		if err != nil {
			return err
		}
		for _, effect := range effects {
			switch {
			case effect.Action != cleanup.Evict || effect.Blocked == nil || effect.Blocked.Cause == cleanup.BlockedByController:
			case effect.Blocked.Cause == cleanup.BlockedByOption:
				f.forbidden = append(f.forbidden, forbidden{step, effect})
			case !budgeted:
				f.denied = append(f.denied, effect)
			}
		}
		for _, effect := range effects {
			if effect.Unchecked != "" && !budgeted {
				return errors.New(effect.Unchecked)
			}
		}
	}
	return nil
}

func (f *found) readVolumes(ctx context.Context, client kubernetes.Interface) (err error) {
	if f.volumes, err = preview.Volumes(ctx, client, f.name); err != nil {
		return err
	}
	f.volumes = append(f.volumes, api.InTreeVolumes(f.node)...)
	return nil
}

// tryUpdate sends a change as a dry run. If a node holds an invalid value, the API server rejects
// every update, including the removal of the finalizer.
func (f *found) tryUpdate(ctx context.Context, client kubernetes.Interface) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": f.node.UID, "annotations": map[string]any{
		api.AnnotationRetryRequestedAt: "dry run", api.AnnotationRetryRequestedBy: nil, // The policy rejects the name of another user.
	}}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, f.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{
		FieldManager: api.FieldManager, DryRun: []string{metav1.DryRunAll},
	})
	if apierrors.IsInvalid(err) {
		f.invalid = err
		return nil
	}
	return err
}

// readRights needs the state of the install. If the caller may not ask for the agent's rights, what the agent
// has reported is used.
func (f *found) readRights(ctx context.Context, client kubernetes.Interface) error {
	if f.agent == nil {
		return errors.New("the state of the agent is not known")
	}
	report, err := rights.ReadReport(ctx, client, f.agent, f.config, f.now)
	if err != nil {
		return err
	}
	var ahead []string
	for _, step := range f.planned {
		if f.ahead(step.Name) {
			ahead = append(ahead, step.Name)
		}
	}
	f.rights = report.Of(ahead)
	return report.Denied
}
