package portworx

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
)

// pxctl is where Portworx installs its command on each host.
const pxctl = "/opt/pwx/bin/pxctl"

// podLabels are on the Pods of Portworx, see getPortworxLabels in
// https://github.com/libopenstorage/operator/blob/master/drivers/storage/portworx/deployment.go and the podAffinity in the
// documentation.
func podLabels() map[string]string { return map[string]string{"name": "portworx"} }

// tokenKey is the key of Secrets with a token for pxctl, as in px-admin-token of Portworx's operator.
const tokenKey = "auth-token"

// pod returns the Pod that removes a node from the Portworx cluster, in that zone if there is one. Portworx documents pxctl as a command of the host, so
// the Pod enters the host's namespaces; it is as privileged as the Pods of Portworx. There is no --force: it makes Portworx
// delete volumes.
func (p *plugin) pod(id, zone string) corev1.PodTemplateSpec {
	container := corev1.Container{
		Name: "pxctl", Image: p.Image,
		Command:         []string{"nsenter", "-t", "1", "-m", "-u", "-i", "-n", "-p", "--", pxctl, "cluster", "delete", id},
		SecurityContext: &corev1.SecurityContext{Privileged: new(true), RunAsUser: new(int64(0))},
	}
	if p.TokenSecret != "" {
		container.Env = []corev1.EnvVar{{Name: "PXCTL_AUTH_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: p.TokenSecret}, Key: tokenKey,
		}}}}
	}
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{container}, HostPID: true, AutomountServiceAccountToken: new(false),
		Affinity: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: podLabels()}, TopologyKey: corev1.LabelHostname,
		}}}},
	}}
	if p.SameZone && zone != "" {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: zone}
	}
	return pod
}

// runs returns the Job with this Pod.
func (p *plugin) runs(id, zone string) (job.Runner, error) {
	runner, err := job.NewRunner(p.kubernetes, p.clock, p.agent, job.RunnerOptions{
		Namespace: p.Namespace, ServiceAccountName: p.ServiceAccountName, Template: p.pod(id, zone),
	})
	if err != nil {
		return nil, fmt.Errorf("the Job of pxctl: %w", err)
	}
	return runner, nil
}

// targetOf returns the target for the Job that removes a node. The key contains the node: a Job that has finished for
// another one is not adopted.
func targetOf(target cleanup.Target, id string) cleanup.Target {
	target.IdempotencyKey += "/" + id
	target.Recorded, target.Counted = nil, nil
	return target
}

// remove runs the Job, and waits for it.
func (p *plugin) remove(ctx context.Context, target cleanup.Target, id string) error {
	runner, err := p.runs(id, zoneOf(target.Node))
	if err != nil {
		return err
	}
	if err := runner.Cleanup(ctx, targetOf(target, id)); err != nil {
		return fmt.Errorf("removing node %s from the Portworx cluster: %w", id, err)
	}
	return nil
}

// endJob ends the Job, if it runs.
func (p *plugin) endJob(ctx context.Context, target cleanup.Target, id string) error {
	runner, err := p.runs(id, "")
	if err != nil {
		return err
	}
	return runner.Withdraw(ctx, targetOf(target, id))
}

// zoneOf returns the zone of a Node, "" if it is not known.
func zoneOf(node *corev1.Node) string { return node.Labels[corev1.LabelTopologyZone] }
