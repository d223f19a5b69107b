package rookceph_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// kubeletNode is the name of the Node that the Pods of Jobs are bound to.
const kubeletNode = "kubelet"

// running are the containers by the UID of their Pods.
type running struct {
	stop  context.CancelFunc
	ended chan struct{}
}

// runPods plays the scheduler and the kubelet: it runs the command of the container of each Pod of a Job on this
// machine, reports how it ended, and ends it when the Pod is deleted.
func (f *fixture) runPods(ctx context.Context) error {
	pods, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		container, known := f.containers[pod.UID]
		switch {
		case pod.DeletionTimestamp != nil:
			if known {
				container.stop()
				<-container.ended
			}
			if err := f.client.CoreV1().Pods(f.namespace).Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0)); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		case !known && pod.Spec.NodeName == "":
			err := f.client.CoreV1().Pods(f.namespace).Bind(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: kubeletNode},
			}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		case !known && pod.Status.Phase == corev1.PodPending:
			if err := f.runContainer(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// runContainer starts the only container of a Pod.
func (f *fixture) runContainer(ctx context.Context, pod *corev1.Pod) error {
	container := pod.Spec.Containers[0]
	execute := f.outcome
	if execute == nil {
		environment, err := f.environment(ctx, pod)
		if err != nil {
			return err
		}
		execute = func(ctx context.Context, pod *corev1.Pod) (int32, string) { return f.execute(ctx, pod, environment) }
	}
	if err := f.report(ctx, pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}); err != nil {
		return err
	}
	f.mutex.Lock()
	f.began = append(f.began, container.Command[len(container.Command)-1])
	f.mutex.Unlock()
	runs, stop := context.WithCancel(ctx)
	one := running{stop, make(chan struct{})}
	f.containers[pod.UID] = one
	go func() {
		defer close(one.ended)
		code, message := execute(runs, pod)
		if runs.Err() != nil {
			return
		}
		phase, state := corev1.PodSucceeded, &corev1.ContainerStateTerminated{Reason: "Completed", ExitCode: code, Message: message, FinishedAt: metav1.Now()}
		if code != 0 {
			phase, state.Reason = corev1.PodFailed, "Error"
		}
		if err := f.report(runs, pod, phase, corev1.ContainerState{Terminated: state}); err != nil && runs.Err() == nil && !apierrors.IsNotFound(err) {
			f.Error(err)
		}
	}()
	return nil
}

// execute runs the command of a container until the context ends. It returns the exit code and the last line.
func (f *fixture) execute(ctx context.Context, pod *corev1.Pod, environment []string) (int32, string) {
	container := pod.Spec.Containers[0]
	command := exec.CommandContext(ctx, container.Command[0], container.Command[1:]...)
	command.Env = environment
	output, err := command.CombinedOutput()
	if ctx.Err() != nil {
		return 137, ""
	}
	f.Logf("%s: %v\n%s", pod.Name, err, output)
	if err == nil {
		return 0, ""
	}
	lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	return int32(max(command.ProcessState.ExitCode(), 1)), string(lines[len(lines)-1])
}

// environment returns the variables of the container of a Pod. The mounted key is in a file.
func (f *fixture) environment(ctx context.Context, pod *corev1.Pod) ([]string, error) {
	container := pod.Spec.Containers[0]
	environment := append(os.Environ(), "PERIOD=0.5")
	for _, variable := range container.Env {
		value := variable.Value
		switch reference := variable.ValueFrom; {
		case reference != nil:
			secret, err := f.client.CoreV1().Secrets(f.namespace).Get(ctx, reference.SecretKeyRef.Name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			value = string(secret.Data[reference.SecretKeyRef.Key])
		case variable.Name == "CEPH_KEY_FILE": // In the mounted Secret.
			secret, err := f.client.CoreV1().Secrets(f.namespace).Get(ctx, pod.Spec.Volumes[0].Secret.SecretName, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			key := filepath.Base(value)
			value = f.path("key-of-" + string(pod.UID))
			if err := os.WriteFile(value, secret.Data[key], 0o600); err != nil {
				return nil, err
			}
		}
		environment = append(environment, variable.Name+"="+value)
	}
	return environment, nil
}

func (f *fixture) report(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) error {
	patch := map[string]any{"status": map[string]any{
		"phase": phase, "startTime": metav1.Now(), "containerStatuses": []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name, State: state}},
	}}
	_, err := f.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, encode(f.T, patch), metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("reporting the state of pod %s: %w", pod.Name, err)
	}
	return nil
}

// phases returns the phases whose script has been started, in order.
func (f *fixture) phases() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.began)
}

// script runs a phase of the script outside a Pod, with the key of the plugin's user. It reports whether the script has
// ended by itself within the limit.
func (f *fixture) script(phase, host, osds string, limit time.Duration) (said string, ended bool) {
	f.Helper()
	f.write("user-key", strings.TrimSpace(f.admin("auth", "get-key", "client.nodecleanup")))
	ctx, cancel := context.WithTimeout(f.Context(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, "python3", filepath.Join("..", "..", "..", "pkg", "plugins", "rook-ceph", "ceph.py"), phase)
	command.Env = append(os.Environ(), "PERIOD=0.5", "CEPH_USER=nodecleanup", "CEPH_KEY_FILE="+f.path("user-key"), "CEPH_MON_HOST="+f.monitors, "OSDS="+osds, "HOST="+host)
	output, err := command.CombinedOutput()
	if err != nil && ctx.Err() == nil {
		f.Errorf("%s of %s: %v\n%s", phase, osds, err, output)
	}
	return string(output), ctx.Err() == nil
}
