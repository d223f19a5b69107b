package portworx_test

import (
	"context"
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// runPods plays the scheduler and the kubelet: it runs each Pod of a Job, and ends it when the Pod is deleted.
func (f *fixture) runPods(ctx context.Context) error {
	pods, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		stop, known := f.running[pod.UID]
		switch {
		case pod.DeletionTimestamp != nil:
			if known {
				stop()
			}
			if err := f.client.CoreV1().Pods(f.namespace).Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0)); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		case !known && pod.Spec.NodeName == "":
			err := f.client.CoreV1().Pods(f.namespace).Bind(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: f.namespace + "-kubelet"},
			}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		case !known && pod.Status.Phase == corev1.PodPending:
			if err := f.report(ctx, pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}); err != nil {
				return err
			}
			runs, stop := context.WithCancel(ctx)
			f.running[pod.UID] = stop
			f.ended.Go(func() { f.run(runs, pod) })
		}
	}
	return nil
}

func (f *fixture) run(ctx context.Context, pod *corev1.Pod) {
	f.mutex.Lock()
	outcome := f.outcome
	f.mutex.Unlock()
	if outcome == nil {
		outcome = f.pxctl
	}
	code, message := outcome(ctx, pod)
	if ctx.Err() != nil {
		return
	}
	phase, state := corev1.PodSucceeded, &corev1.ContainerStateTerminated{Reason: "Completed", ExitCode: code, Message: message, FinishedAt: metav1.Now()}
	if code != 0 {
		phase, state.Reason = corev1.PodFailed, "Error"
	}
	if err := f.report(ctx, pod, phase, corev1.ContainerState{Terminated: state}); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

func (f *fixture) report(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": phase, "startTime": metav1.Now(), "containerStatuses": []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name, State: state}},
	}})
	if err != nil {
		return err
	}
	_, err = f.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
