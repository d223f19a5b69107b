package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// Cleanup implements cleanup.Plugin: it creates a Job, or adopts the one that an interrupted attempt has
// created, and waits until it has finished.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	jobs, err := p.list(ctx, target.IdempotencyKey)
	if err != nil {
		return err
	}
	chosen := choose(jobs.Items, target)
	if chosen.failed != nil && chosen.adopt == nil {
		target.Log.Info("an earlier Job has failed, creating a new one", "job", nameOfJob(chosen.failed), "reason", reasonOf(chosen.failed))
	}
	job := chosen.adopt
	if job == nil {
		job, err = p.create(ctx, target, chosen.number)
		if apierrors.IsAlreadyExists(err) {
			job, err = p.adopt(ctx, target, chosen.number)
		}
		if err != nil {
			return err
		}
	} else {
		target.Log.Info("adopted a Job", "job", nameOfJob(job))
	}
	progress := ""
	job, err = p.await(ctx, job, func(text string) {
		progress = text
		target.Progress(text)
	})
	if err != nil {
		return fmt.Errorf("waiting for job %s (%s): %w", nameOfJob(job), cmp.Or(progress, "it has no Pod yet"), err)
	}
	pods, err := p.pods(ctx, job)
	if err != nil {
		return fmt.Errorf("reading the result of job %s: %w", nameOfJob(job), err)
	}
	if condition(job, batchv1.JobComplete) != nil {
		p.recordOutputs(succeeded(pods), target)
		return nil
	}
	return p.failure(ctx, job, newest(pods), progress)
}

// succeeded returns the Pod that has succeeded, nil if there is none.
func succeeded(pods []corev1.Pod) *corev1.Pod {
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodSucceeded {
			return &pods[i]
		}
	}
	return nil
}

func nameOfJob(job *batchv1.Job) string { return job.Namespace + "/" + job.Name }

func (p *plugin) selector(key string) string { return labelKey + "=" + hashOf(key) }

func (p *plugin) list(ctx context.Context, key string) (*batchv1.JobList, error) {
	jobs, err := p.client.BatchV1().Jobs(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: p.selector(key)})
	if err != nil {
		return nil, fmt.Errorf("listing jobs in namespace %s: %w", p.Namespace, err)
	}
	return jobs, nil
}

// template returns the Pod template of the options, or reads it from the ConfigMap.
func (p *plugin) template(ctx context.Context) (*podTemplate, error) {
	from := p.TemplateFrom
	if from == nil {
		return &p.Template, nil
	}
	configMap, err := p.client.CoreV1().ConfigMaps(p.Namespace).Get(ctx, from.ConfigMap, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the Pod template: %w", err)
	}
	text, found := configMap.Data[from.Key]
	if !found {
		return nil, fmt.Errorf("reading the Pod template: configmap %s/%s has no key %s", p.Namespace, from.ConfigMap, from.Key)
	}
	template, err := parseTemplate(text, p.ServiceAccountName)
	if err != nil {
		return nil, fmt.Errorf("reading the Pod template in configmap %s/%s, key %s: %w", p.Namespace, from.ConfigMap, from.Key, err)
	}
	return template, nil
}

// create creates the Job with that number.
func (p *plugin) create(ctx context.Context, target cleanup.Target, number int) (*batchv1.Job, error) {
	template, err := p.template(ctx)
	if err != nil {
		return nil, err
	}
	left := time.Hour
	if deadline, limited := ctx.Deadline(); limited {
		left = time.Until(deadline)
	}
	wanted, err := p.build(template, target, number, deadlineOf(left), func(template cleanup.Template) (string, error) {
		return template.Expand(target, literal)
	})
	if err != nil {
		return nil, err
	}
	created, err := p.client.BatchV1().Jobs(p.Namespace).Create(ctx, wanted, metav1.CreateOptions{})
	switch {
	case invalidFields(err) && p.TemplateFrom == nil:
		return nil, cleanup.Permanent(fmt.Errorf("creating job %s: %w", nameOfJob(wanted), err))
	case err != nil:
		return nil, fmt.Errorf("creating job %s: %w", nameOfJob(wanted), err)
	}
	target.Log.Info("created a Job", "job", nameOfJob(created))
	return created, nil
}

// invalidFields reports whether the API server refuses fields of the object. A denial by a
// ValidatingAdmissionPolicy has the reason Invalid by default, too, but names no field, and the policy may
// allow the object later: see reason in
// https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/validating-admission-policy-v1/.
func invalidFields(err error) bool {
	if !apierrors.IsInvalid(err) {
		return false
	}
	status, is := errors.AsType[*apierrors.StatusError](err)
	if !is || status.ErrStatus.Details == nil {
		return false
	}
	return slices.ContainsFunc(status.ErrStatus.Details.Causes, func(cause metav1.StatusCause) bool { return cause.Field != "" })
}

// adopt returns the Job that exists although the list of this attempt did not have it: the leader before
// can have created it in between.
func (p *plugin) adopt(ctx context.Context, target cleanup.Target, number int) (*batchv1.Job, error) {
	jobs, err := p.list(ctx, target.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	name := p.Namespace + "/" + nameOf(target.Step, target.IdempotencyKey, number)
	chosen := choose(jobs.Items, target)
	switch {
	case chosen.adopt != nil:
		target.Log.Info("adopted a Job", "job", nameOfJob(chosen.adopt))
		return chosen.adopt, nil
	case chosen.number > number:
		return nil, fmt.Errorf("creating job %s: another replica of the agent has created it, and it has failed or is deleted", name)
	}
	return nil, fmt.Errorf("creating job %s: a Job of this name exists, and it is not of this step. Next: delete it", name)
}

// pollPeriod is the time between two reads of the Pods of a Job. The Job itself is watched.
const pollPeriod = 10 * time.Second

// firstPoll is the time until the first of these reads. Most Pods start within it.
const firstPoll = 2 * time.Second

// await returns the Job when it has finished. With an error, it returns the last known Job. While the
// API server does not answer, it waits: the Job runs in the meantime.
func (p *plugin) await(ctx context.Context, job *batchv1.Job, progress func(string)) (*batchv1.Job, error) {
	changes := &changes{plugin: p, job: job}
	defer changes.stop()
	period, text := firstPoll, ""
	for {
		if finished(changes.job) {
			return changes.job, nil
		}
		err := changes.start(ctx)
		if finished(changes.job) {
			return changes.job, nil
		}
		current := ""
		if err == nil {
			current, err = p.progress(ctx, changes.job)
		}
		switch {
		case ctx.Err() != nil:
			return changes.job, context.Cause(ctx)
		case err == nil:
			text = current
			progress(text)
		case api.Retriable(err):
			progress(cmp.Or(text, "job "+nameOfJob(job)) + "; this may be out of date: " + oneLine(err.Error()))
		default:
			return changes.job, err
		}
		timer := p.clock.NewTimer(period)
		select {
		case <-ctx.Done():
			timer.Stop()
			return changes.job, context.Cause(ctx)
		case <-timer.C():
			period = pollPeriod
		case event, open := <-changes.events():
			if err := changes.apply(event, open); err != nil {
				timer.Stop()
				return changes.job, err
			}
			if changes.events() == nil { // An overloaded API server may end each watch immediately.
				select {
				case <-ctx.Done():
				case <-timer.C():
				}
			}
			timer.Stop()
		}
	}
}

func finished(job *batchv1.Job) bool {
	return condition(job, batchv1.JobComplete, batchv1.JobFailed) != nil
}

// progress describes what the Job does or waits for.
func (p *plugin) progress(ctx context.Context, job *batchv1.Job) (string, error) {
	pods, err := p.pods(ctx, job)
	if err != nil {
		return "", err
	}
	text := ""
	if pod := newest(pods); pod != nil {
		text = progressOf(pod)
		if p.LogProgress && runningContainer(pod) != "" {
			text = cmp.Or(p.lastLine(ctx, pod), text)
		}
	} else if text, err = p.noPod(ctx, job); err != nil {
		return "", err
	}
	if failing := condition(job, batchv1.JobFailureTarget); failing != nil {
		text = fmt.Sprintf("%s: %s; %s", failing.Reason, oneLine(failing.Message), text)
	}
	return text, nil
}

// noPod returns why the Job has no Pod, from the newest warning Event about the Job.
func (p *plugin) noPod(ctx context.Context, job *batchv1.Job) (string, error) {
	events, err := p.client.CoreV1().Events(job.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=Job,involvedObject.name=" + job.Name + ",type=" + corev1.EventTypeWarning,
	})
	if err != nil {
		return "", fmt.Errorf("listing events in namespace %s: %w", job.Namespace, err)
	}
	var last *corev1.Event
	for i := range events.Items {
		event := &events.Items[i]
		if event.InvolvedObject.UID == job.UID && (last == nil || last.LastTimestamp.Before(&event.LastTimestamp)) {
			last = event
		}
	}
	if last == nil {
		return fmt.Sprintf("job %s has no Pod yet", nameOfJob(job)), nil
	}
	return fmt.Sprintf("job %s has no Pod: %s: %s", nameOfJob(job), oneLine(last.Reason), truncate.Bytes(oneLine(last.Message), maxMessage)), nil
}

// pods returns the Pods of the Job.
func (p *plugin) pods(ctx context.Context, job *batchv1.Job) ([]corev1.Pod, error) {
	list, err := p.client.CoreV1().Pods(job.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name})
	if err != nil {
		return nil, fmt.Errorf("listing pods in namespace %s: %w", job.Namespace, err)
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if owner := metav1.GetControllerOf(&pod); owner != nil && owner.UID == job.UID {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// reasonOf describes why a Job has failed, or is about to.
func reasonOf(job *batchv1.Job) string {
	failed := condition(job, batchv1.JobFailed, batchv1.JobFailureTarget)
	if failed == nil {
		return "unknown"
	}
	return oneLine(failed.Reason + ": " + failed.Message)
}

// failure returns the error of a Job that has failed, with the last lines of the log of its newest Pod.
// The progress is what the Job did last.
func (p *plugin) failure(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, progress string) error {
	failed := condition(job, batchv1.JobFailed)
	deadline := job.Spec.ActiveDeadlineSeconds // nil if another client has changed the Job.
	switch {
	case failed.Reason == batchv1.JobReasonDeadlineExceeded && deadline != nil:
		// The Job controller deletes the Pod, and its log with it.
		return fmt.Errorf("job %s was not done within %s, the rest of the step's timeout: %s",
			nameOfJob(job), time.Duration(*deadline)*time.Second, cmp.Or(progress, "it had no Pod"))
	case pod == nil:
		return fmt.Errorf("job %s failed: %s; its Pod does not exist any more", nameOfJob(job), reasonOf(job))
	}
	text := failureOf(pod)
	if log := p.log(ctx, pod); log != "" {
		text += "; " + log
	}
	return errors.New(text)
}

// log returns the last lines of the log of the container that has failed, "" if there are none.
func (p *plugin) log(ctx context.Context, pod *corev1.Pod) string {
	status := failedContainer(pod)
	if status == nil || p.LogLines == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	log, err := p.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: status.Name, TailLines: &p.LogLines, LimitBytes: new(int64(maxLogBytes)),
	}).DoRaw(ctx)
	if err != nil {
		return "cannot read its log: " + truncate.Bytes(oneLine(err.Error()), maxMessage)
	}
	if text := lastLines(string(log)); text != "" {
		return "its log ends with: " + text
	}
	return ""
}

// lastLine returns the last line of the log of a running Pod, "" if there is none.
func (p *plugin) lastLine(ctx context.Context, pod *corev1.Pod) string {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	log, err := p.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: runningContainer(pod), TailLines: new(int64(1)), LimitBytes: new(int64(maxMessage)),
	}).DoRaw(ctx)
	if err != nil {
		return fmt.Sprintf("%s; cannot read its log: %s", progressOf(pod), truncate.Bytes(oneLine(err.Error()), maxMessage))
	}
	return oneLine(string(log))
}

const (
	// maxLogBytes limits how much of a log is read.
	maxLogBytes = 64 << 10
	// logTimeout limits a read of a log. The API server waits for the kubelet, whose host can be dead.
	logTimeout = 5 * time.Second
)

// Withdraw implements cleanup.Withdrawer: it deletes the Jobs that have not finished, and their Pods.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	jobs, err := p.list(ctx, target.IdempotencyKey)
	if err != nil {
		return err
	}
	var failed []error
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if job.Annotations[annotationKey] != target.IdempotencyKey || !unfinished(job) {
			continue
		}
		err := p.client.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{
			Preconditions: metav1.NewUIDPreconditions(string(job.UID)), PropagationPolicy: new(metav1.DeletePropagationBackground),
		})
		if err != nil && !api.Absent(err) {
			failed = append(failed, fmt.Errorf("deleting job %s: %w", nameOfJob(job), err))
		}
	}
	return errors.Join(failed...)
}
