package bypass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// written is a run record that the caller has written.
type written struct {
	run    *api.Run
	stored *corev1.ConfigMap
	// before is the record that it replaced, "" if there was none.
	before string
}

// interrupted is the error of a step that ran when its agent ended.
const interrupted = "interrupted: no agent was leading when the node was released"

// record writes that the caller bypasses the cleanup: it closes the open record of the Node, or
// creates one. It fails with Conflict or AlreadyExists if another client writes at the same time.
func (r *releaser) record(ctx context.Context, node *corev1.Node) (*written, error) {
	configMaps := r.client.CoreV1().ConfigMaps(r.namespace)
	name := api.RunName(node.Name, node.UID)
	stored, err := configMaps.Get(ctx, name, metav1.GetOptions{})
	exists := !api.Absent(err)
	if exists && err != nil {
		return nil, fmt.Errorf("reading run record %s/%s: %w", r.namespace, name, err)
	}
	var run *api.Run
	var unknown string
	if exists {
		run, err = api.DecodeRun(stored)
		if err == nil && run.NodeUID != node.UID {
			err = fmt.Errorf("the run record is about node UID %s", run.NodeUID)
		}
		if err != nil {
			run, unknown = nil, fmt.Sprintf("; it is not known which of its steps are done: %v", err)
		}
		if run != nil && run.State == api.Bypassed { // Written by an earlier attempt, or by a user whose mark is newer.
			if _, err := r.again(ctx, node); err != nil {
				return nil, err
			}
		}
	}
	if run == nil || run.Mismatch(node) != "" {
		run = api.NewRun(node, r.now())
	}
	if err := r.steps(ctx, run, node); err != nil && unknown == "" {
		unknown = fmt.Sprintf("; it is not known which steps it had: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	r.close(run, node)
	run.Message += unknown

	configMap, err := api.EncodeRun(r.namespace, run)
	if err != nil {
		return nil, err
	}
	result := &written{run: run}
	if exists {
		result.before = stored.Data[api.RunKey]
		stored.Data = configMap.Data
		result.stored, err = configMaps.Update(ctx, stored, metav1.UpdateOptions{FieldManager: api.FieldManager})
	} else {
		result.stored, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{FieldManager: api.FieldManager})
	}
	if err != nil {
		return nil, fmt.Errorf("writing run record %s/%s: %w", r.namespace, name, err)
	}
	return result, nil
}

// steps sets the steps of a run without a plan to the steps of the config.
func (r *releaser) steps(ctx context.Context, run *api.Run, node *corev1.Node) error {
	if run.PlanHash != "" {
		return nil
	}
	settings, err := preview.Config(ctx, r.client, r.namespace)
	if err != nil {
		return err
	}
	plan.Build(settings.Steps, node).Record(run, settings.Hash, settings.DryRun)
	return nil
}

// close ends a run by the bypass on the Node.
func (r *releaser) close(run *api.Run, node *corev1.Node) {
	now := metav1.NewTime(r.now())
	for i := range run.Steps {
		step := &run.Steps[i]
		switch step.State {
		case api.StepRunning:
			step.State, step.LastError, step.Progress, step.FinishedAt = api.StepFailed, interrupted, "", &now
		case api.StepRetrying:
			step.State, step.NextAttemptAt, step.FinishedAt = api.StepFailed, nil, &now
		}
	}
	run.State, run.FinishedAt, run.DeletionRequestedAt = api.Bypassed, &now, node.DeletionTimestamp.DeepCopy()
	run.BypassReason = node.Annotations[api.AnnotationBypassReason]
	run.BypassedBy = node.Annotations[api.AnnotationBypassBy]
	run.BypassedByVerified = r.verified && run.BypassedBy != ""
	run.Message = fmt.Sprintf("bypassed by %s: %s; released by kubectl nodecleanup because no agent was leading; %s", cmp.Or(run.Bypasser(), api.UnknownUser), run.BypassReason, command.Undone(run))
}

// undo restores the record of a Node that was not released after all. It keeps a record that another
// client has changed since.
func (r *releaser) undo(ctx context.Context, record *written) error {
	if record == nil {
		return nil
	}
	data := record.before
	if data == "" {
		run := *record.run
		run.State, run.Message, run.FinishedAt = api.Pending, "", nil
		run.BypassReason, run.BypassedBy, run.BypassedByVerified = "", "", false
		configMap, err := api.EncodeRun(r.namespace, &run)
		if err != nil {
			return err
		}
		data = configMap.Data[api.RunKey]
	}
	record.stored.Data[api.RunKey] = data
	_, err := r.client.CoreV1().ConfigMaps(r.namespace).Update(ctx, record.stored, metav1.UpdateOptions{FieldManager: api.FieldManager})
	if err == nil || apierrors.IsConflict(err) || api.Absent(err) {
		return nil
	}
	return errors.Join(fmt.Errorf("run record %s says that the node was bypassed, and cannot be restored", record.stored.Name), err)
}
