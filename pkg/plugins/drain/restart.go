package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// restartedAt is the annotation of the Pod template that kubectl rollout restart writes
// (k8s.io/kubectl/pkg/polymorphichelpers/objectrestarter.go). A change of it is a rollout.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// restartCheck is the time between two reads of a rollout that has not replaced the Pod yet.
const restartCheck = 10 * time.Second

// workload is a Deployment or a StatefulSet.
type workload struct {
	api.Object
	template corev1.PodTemplateSpec
	// unsuitable is why a restart is not better than an eviction, or "".
	unsuitable string
	// stuck is why the rollout does not progress, or "".
	stuck string
}

// rollout is the state of a Pod that a restarted rollout replaces.
type rollout struct {
	// waits is the wait that the drain reports, "" if it evicts the Pod instead.
	waits string
	// next is when the workload is read again.
	next time.Time
}

// restartAll restarts the rollouts of the Pods, each workload once, and returns the Pods that
// to evict instead.
func (d *drain) restartAll(ctx context.Context, pods []*corev1.Pod) (others []*corev1.Pod, failed error) {
	forceAt, forces := d.forceAt()
	now := d.clock.Now()
	for _, pod := range pods {
		current := d.rollouts[pod.UID]
		if forces && !now.Before(forceAt) {
			current = &rollout{}
		}
		if current == nil || current.waits != "" && !now.Before(current.next) {
			waits, err := d.restart(ctx, pod)
			if err != nil {
				failed = inOneLine(failed, err)
				continue
			}
			current = &rollout{waits, now.Add(restartCheck)}
		}
		d.rollouts[pod.UID] = current
		if current.waits == "" {
			others = append(others, pod)
			continue
		}
		d.requeueAt(current.next)
	}
	return others, failed
}

// restart makes the controller replace the Pod by the same change of the Pod template as kubectl
// rollout restart. It returns the wait that the drain reports, or "" if the Pod must be evicted.
// The annotation holds the time when the step began, so that no other attempt or agent restarts
// the workload again.
func (d *drain) restart(ctx context.Context, pod *corev1.Pod) (waits string, err error) {
	found, unsuitable, err := d.restartable(ctx, pod)
	switch {
	case apierrors.IsForbidden(err):
		return "", err
	case err != nil:
		return oneLine(err), nil
	case unsuitable != "":
		d.target.Log.Info("evicting the pod instead of restarting its rollout", "pod", nameOf(pod), "reason", unsuitable)
		return "", nil
	}
	written, set := found.template.Annotations[restartedAt]
	if at, err := time.Parse(time.RFC3339, written); !set || err != nil || at.Before(d.target.Began.Truncate(time.Second)) {
		if err := d.restartWorkload(ctx, found.Object); err != nil {
			err = fmt.Errorf("restarting the rollout of %s %s: %w", found.Kind, found.Object, err)
			failure := api.FailureOf(err)
			switch {
			case failure.Kind != "": // It passes, such as a change freeze, and is waited for as with an eviction.
				return oneLine(err) + "; " + failure.Remedy(), nil
			case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
				return "", err
			}
			return oneLine(err), nil
		}
		d.target.Log.Info("rollout restarted", "kind", found.Kind, "controller", found.Object.String(), "pod", nameOf(pod))
	} else if pod.Annotations[restartedAt] == written {
		return "", nil // The Pod is the new one.
	}
	waits = fmt.Sprintf("waiting for the rollout of %s %s", found.Kind, found.Object)
	if found.stuck != "" {
		waits += ": " + found.stuck
	}
	return waits, nil
}

// restartable returns the workload of the Pod, or why the drain should evict the Pod instead.
func (p *plugin) restartable(ctx context.Context, pod *corev1.Pod) (found workload, unsuitable string, err error) {
	controller, _ := pods.Controller(pod)
	switch controller.Kind {
	case "Deployment":
		found, err = p.deployment(ctx, controller)
	case "StatefulSet":
		found, err = p.statefulSet(ctx, controller)
	default:
		return workload{}, "it belongs to neither a Deployment nor a StatefulSet", nil
	}
	if apierrors.IsNotFound(err) {
		return workload{}, fmt.Sprintf("there is no %s %s", controller.Kind, controller), nil
	}
	if err != nil {
		return workload{}, "", fmt.Errorf("reading %s %s: %w", controller.Kind, controller, err)
	}
	return found, found.unsuitable, nil
}

func (p *plugin) deployment(ctx context.Context, controller api.Object) (workload, error) {
	read, err := p.client.AppsV1().Deployments(controller.Namespace).Get(ctx, controller.Name, metav1.GetOptions{})
	if err != nil {
		return workload{}, err
	}
	found := workload{Object: controller, template: read.Spec.Template}
	switch {
	case ptr.Deref(read.Spec.Replicas, 1) > 1:
		found.unsuitable = "it has more than one replica"
	case read.Spec.Paused:
		found.unsuitable = "its rollout is paused"
	case !surges(read.Spec.Strategy):
		found.unsuitable = "its strategy deletes the old Pod before it creates the new one"
	}
	for _, condition := range read.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing && condition.Status == corev1.ConditionFalse ||
			condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			found.stuck = condition.Message
		}
	}
	return found, nil
}

// surges reports whether a rollout of one replica creates the new Pod first.
func surges(strategy appsv1.DeploymentStrategy) bool {
	if strategy.Type == appsv1.RecreateDeploymentStrategyType || strategy.RollingUpdate == nil || strategy.RollingUpdate.MaxSurge == nil {
		return false
	}
	surge, err := intstr.GetScaledValueFromIntOrPercent(strategy.RollingUpdate.MaxSurge, 1, true)
	return err == nil && surge > 0
}

func (p *plugin) statefulSet(ctx context.Context, controller api.Object) (workload, error) {
	read, err := p.client.AppsV1().StatefulSets(controller.Namespace).Get(ctx, controller.Name, metav1.GetOptions{})
	if err != nil {
		return workload{}, err
	}
	found := workload{Object: controller, template: read.Spec.Template}
	rolling := read.Spec.UpdateStrategy.RollingUpdate
	switch {
	case ptr.Deref(read.Spec.Replicas, 1) > 1:
		found.unsuitable = "it has more than one replica"
	case read.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		found.unsuitable = "its update strategy is OnDelete"
	case rolling != nil && ptr.Deref(rolling.Partition, 0) > 0:
		found.unsuitable = "its update strategy has a partition"
	}
	return found, nil
}

func (d *drain) restartWorkload(ctx context.Context, controller api.Object) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{restartedAt: d.target.Began.UTC().Format(time.RFC3339)},
	}}}})
	if err != nil {
		return err
	}
	if controller.Kind == "Deployment" {
		_, err = d.client.AppsV1().Deployments(controller.Namespace).Patch(ctx, controller.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	} else {
		_, err = d.client.AppsV1().StatefulSets(controller.Namespace).Patch(ctx, controller.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	}
	return err
}
