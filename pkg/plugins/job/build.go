package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const (
	// labelKey is on Jobs and Pods: the hash of the idempotency key.
	labelKey = "nodecleanup.io/job"
	// annotationKey is on Jobs: the idempotency key. The plugin ignores a Job without it.
	annotationKey = "nodecleanup.io/idempotency-key"
	// annotationBegan is the start of the step, see cleanup.Target.Began. A Job with another one belongs
	// to an earlier cleanup of the Node, or to the time before a requested retry.
	annotationBegan = "nodecleanup.io/step-started-at"
	// annotationNumber counts the Jobs of the key, from 1.
	annotationNumber = "nodecleanup.io/job-number"
	annotationNode   = "nodecleanup.io/node"
	annotationStep   = "nodecleanup.io/step"
)

// hashOf returns the value of labelKey.
func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:16]
}

// nameOf returns the name of a Job. The name of a Pod is that of its Job and 6 further characters, at most
// 63 in total.
func nameOf(step, key string, number int) string {
	const most = 30
	if len(step) > most {
		step = strings.TrimRight(step[:most], "-")
	}
	return fmt.Sprintf("%s-%s-%d", step, hashOf(key)[:10], number)
}

// minDeadline is the minimum deadline of a Job.
const minDeadline = 5 * time.Second

// deadlineOf returns the deadline of a Job for the remaining time of the attempt. The difference is for the end
// of its Pod, so that the agent sees why the Job has failed before the attempt ends.
func deadlineOf(left time.Duration) time.Duration {
	return max(left-min(left/4, 45*time.Second), minDeadline).Truncate(time.Second)
}

// build returns the Job for a target. The template is not changed. With expand, a reference to an
// absent output is an error.
func (p *plugin) build(template *podTemplate, target cleanup.Target, number int, deadline time.Duration, expand func(cleanup.Template) (string, error)) (*batchv1.Job, error) {
	pod := template.PodTemplateSpec.DeepCopy()
	variables := environment(target)
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", pod.Spec.InitContainers}, {"containers", pod.Spec.Containers}} {
		for i := range list.containers {
			container := &list.containers[i]
			for j := range container.Env {
				if container.Env[j].ValueFrom != nil {
					continue
				}
				value, err := expand(template.values[fmt.Sprintf("spec.%s[%d].env[%d].value", list.name, i, j)])
				if err != nil {
					return nil, fmt.Errorf("variable %s of container %s: %w", container.Env[j].Name, container.Name, err)
				}
				container.Env[j].Value = value
			}
			container.Env = append(append([]corev1.EnvVar{}, variables...), container.Env...)
		}
	}
	pod.Labels = with(pod.Labels, map[string]string{labelKey: hashOf(target.IdempotencyKey)})
	pod.Annotations = with(pod.Annotations, map[string]string{annotationNode: target.Node.Name, annotationStep: target.Step})
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = p.ServiceAccountName, ""
	place(&pod.Spec, target.Node.Name, p.OnNode)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: nameOf(target.Step, target.IdempotencyKey, number), Namespace: p.Namespace,
			Labels: map[string]string{labelKey: hashOf(target.IdempotencyKey)},
			Annotations: map[string]string{
				annotationKey: target.IdempotencyKey, annotationBegan: began(target), annotationNumber: strconv.Itoa(number),
				annotationNode: target.Node.Name, annotationStep: target.Step,
			},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit:            new(int32(0)),
			ActiveDeadlineSeconds:   new(int64(deadline / time.Second)),
			TTLSecondsAfterFinished: new(int32(p.TTL.Duration / time.Second)),
			// An evicted Pod is replaced: its containers did not fail.
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:          batchv1.PodFailurePolicyActionIgnore,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
			}}},
			// Two Pods of one Job never run at the same time.
			PodReplacementPolicy: new(batchv1.Failed),
			Template:             *pod,
		},
	}, nil
}

// began identifies the run of the step in annotationBegan.
func began(target cleanup.Target) string { return target.Began.UTC().Format(time.RFC3339) }

func with(values, more map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, values)
	maps.Copy(all, more)
	return all
}

// place makes a Pod run only on the Node, or never there, and preserves the affinity of the template. The
// scheduler decides, and not spec.nodeName, so that the kubelet does not reject the Pod.
func place(pod *corev1.PodSpec, node string, on bool) {
	operator := corev1.NodeSelectorOpNotIn
	if on {
		operator = corev1.NodeSelectorOpIn
		// The taints of a Node that is removed cannot be known in advance.
		pod.Tolerations = append(pod.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
	}
	requirement := corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: operator, Values: []string{node}}
	if pod.Affinity == nil {
		pod.Affinity = &corev1.Affinity{}
	}
	if pod.Affinity.NodeAffinity == nil {
		pod.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity := pod.Affinity.NodeAffinity
	required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
			{MatchFields: []corev1.NodeSelectorRequirement{requirement}},
		}}
		return
	}
	for i := range required.NodeSelectorTerms {
		// One of the terms must match, so each gets the requirement. An empty term matches no Node.
		if term := &required.NodeSelectorTerms[i]; len(term.MatchExpressions)+len(term.MatchFields) > 0 {
			term.MatchFields = append(term.MatchFields, requirement)
		}
	}
}
