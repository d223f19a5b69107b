package rookceph

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
)

// script runs in the Jobs.
//
//go:embed ceph.py
var script string

// A phase is one Job: an argument of the script.
type phase string

const (
	evacuate phase = "evacuate"
	remove   phase = "remove"
	restore  phase = "restore"
)

// Rook's Secret with the addresses of the monitors, which the Pods of OSDs use, too.
const (
	monitorSecret = "rook-ceph-config"
	monitorKey    = "mon_host"
)

// keyFolder is where the Secret with the key of the user is mounted.
const keyFolder = "/etc/nodecleanup-ceph"

// runs returns the Job of a phase.
func (p *plugin) runs(of phase, osds []osd) (job.Runner, error) {
	var ids, image, host string
	for _, one := range osds {
		ids += fmt.Sprintf(",%d=%s", one.id, one.uuid)
		image, host = cmp.Or(image, one.image), cmp.Or(host, one.host)
	}
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{
			Name:    "ceph",
			Image:   cmp.Or(p.Image, image, "ceph"), // Without an OSD, only a dry run of the health check uses it.
			Command: []string{"python3", "-c", script, string(of)},
			Env: []corev1.EnvVar{
				{Name: "OSDS", Value: strings.TrimPrefix(ids, ",")},
				{Name: "HOST", Value: host},
				{Name: "CEPH_USER", Value: p.User},
				{Name: "CEPH_KEY_FILE", Value: keyFolder + "/key"},
				{Name: "CEPH_MON_HOST", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: monitorSecret}, Key: monitorKey,
				}}},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "key", MountPath: keyFolder, ReadOnly: true}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: new(int64(167)), // The user ceph of Ceph's images.
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		}},
		Volumes: []corev1.Volume{{Name: "key", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: p.KeySecret, DefaultMode: new(int32(0o444)),
		}}}},
		AutomountServiceAccountToken: new(false),
	}}
	runner, err := job.NewRunner(p.client, p.clock, p.agent, job.RunnerOptions{
		Namespace: p.Namespace, ServiceAccountName: p.ServiceAccountName, Template: pod, LogProgress: true,
	})
	if err != nil {
		return nil, fmt.Errorf("the Job of phase %s: %w", of, err)
	}
	return runner, nil
}

// targetOf returns the target for the Job of a phase. The key contains the OSDs: a Job that has finished for other
// OSDs is not adopted.
func targetOf(target cleanup.Target, of phase, osds []osd) cleanup.Target {
	hash := sha256.New()
	for _, one := range osds {
		fmt.Fprintln(hash, one.id, one.uuid)
	}
	target.Step += "-" + string(of)
	target.IdempotencyKey += "/" + string(of) + "/" + hex.EncodeToString(hash.Sum(nil))[:16]
	progress := target.Progress
	target.Progress = func(text string) { progress(string(of) + ": " + text) }
	target.Recorded = nil
	return target
}
