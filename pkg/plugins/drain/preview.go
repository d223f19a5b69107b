package drain

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// Preview implements cleanup.Previewer. It returns the effect on each Pod, and checks the budgets
// by dry-run evictions.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	list, err := p.listPods(ctx, target.Node.Name)
	if err != nil {
		return nil, err
	}
	var effects []cleanup.Effect
	if !target.Node.Spec.Unschedulable {
		effects = append(effects, cleanup.Effect{Action: cleanup.Cordon, Object: cleanup.Object{Kind: cleanup.KindNode, Name: target.Node.Name}})
	}
	in := circumstancesOf(target.Node, target, p.clock.Now())
	check := check{plugin: p, rights: map[string]error{}, budgets: map[string]*policyv1.PodDisruptionBudgetList{}, pending: map[string][]corev1.Pod{}}
	for i := range list {
		pod := &list[i]
		in.late = in.cameLate(pod)
		decision := p.decide(pod, in)
		effect := decision.effect(pod)
		if decision.action == await {
			effect.Blocked = pods.Finalizers(pod, in.now)
		}
		if decision.action == restart {
			if effect = p.previewRestart(ctx, pod); effect.Action == cleanup.Restart {
				effects = append(effects, effect)
				continue
			}
		}
		predictReturn(&effect, pod)
		if effect.Action == cleanup.Evict && effect.Blocked == nil && p.byRequest(pod) {
			effect.Reason = strings.TrimPrefix(effect.Reason+"; eviction requested"+fromResponders(pod), "; ")
		} else if effect.Action == cleanup.Evict && effect.Blocked == nil {
			if err := check.eviction(ctx, &effect, pod, p.grace(pod, in.unreachable)); err != nil {
				return nil, err
			}
		}
		effects = append(effects, effect)
	}
	return effects, nil
}

// effect returns the decision about a pod as others read it.
func (d decision) effect(pod *corev1.Pod) cleanup.Effect {
	effect := cleanup.Effect{Object: pods.Object(pod), UID: pod.UID, Reason: d.reason}
	switch d.action {
	case await:
		effect.Action = cleanup.Wait
	case leave:
		effect.Action = cleanup.Skip
	case refuse:
		effect.Action = cleanup.Evict
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByOption, Message: d.reason, Option: d.option}
		effect.Reason = ""
	default:
		effect.Action = cleanup.Evict
	}
	return effect
}

// previewRestart returns whether the rollout of the Pod's controller would be restarted.
func (p *plugin) previewRestart(ctx context.Context, pod *corev1.Pod) cleanup.Effect {
	found, unsuitable, err := p.restartable(ctx, pod)
	if unsuitable != "" {
		return cleanup.Effect{Action: cleanup.Evict, Object: pods.Object(pod), UID: pod.UID, Reason: "rollout not restarted, " + unsuitable}
	}
	if err != nil {
		controller, _ := pods.Controller(pod)
		return cleanup.Effect{Action: cleanup.Restart, Object: controller, UID: pod.UID, Unchecked: oneLine(err)}
	}
	return cleanup.Effect{Action: cleanup.Restart, Object: found.Object, UID: pod.UID, Reason: "its rollout replaces pod " + nameOf(pod)}
}

// check finds out whether evictions are blocked, for one preview.
type check struct {
	*plugin
	// rights has, by namespace, why the caller may not evict Pods, nil if it may.
	rights map[string]error
	// budgets by namespace, read when first needed.
	budgets map[string]*policyv1.PodDisruptionBudgetList
	// pending Pods by namespace, read when a budget blocks.
	pending map[string][]corev1.Pod
}

// eviction adds the blocker of the Pod's eviction to the effect. It returns only errors of ctx.
func (c check) eviction(ctx context.Context, effect *cleanup.Effect, pod *corev1.Pod, grace *int64) error {
	release, err := c.limiter.acquire(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	err = c.evict(ctx, pod, grace, true)
	release()
	var blocked blockedError
	var remedied remediedError
	errors.As(err, &remedied)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
	case errors.As(err, &blocked) && blocked.cause == api.BlockedByNamespace:
		effect.Action, effect.Reason = cleanup.Wait, blocked.reason
	case errors.As(err, &blocked):
		effect.Blocked = &cleanup.Blocker{Cause: blocked.cause, Message: blocked.reason, Remedy: remedied.remedy}
		c.explain(ctx, effect.Blocked, pod)
	case apierrors.IsForbidden(err) && c.mayNotEvict(ctx, pod.Namespace):
		c.readBudgets(ctx, effect, pod, err)
	default:
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByServer, Message: oneLine(err)}
	}
	return nil
}

// mayNotEvict reports whether RBAC rejected an eviction, rather than an admission webhook or
// policy, which return the same reason.
func (c check) mayNotEvict(ctx context.Context, namespace string) bool {
	if _, checked := c.rights[namespace]; !checked {
		allowed, err := access.Self(c.client)(ctx, access.Right{Namespace: namespace, Verb: "create", Resource: "pods", Subresource: "eviction"})
		switch {
		case err != nil:
			c.rights[namespace] = err
		case !allowed:
			c.rights[namespace] = errors.New("no right to evict pods")
		default:
			c.rights[namespace] = nil
		}
	}
	return c.rights[namespace] != nil
}

// explain replaces the cause and the remedy by more exact ones from the budgets, if the caller may read
// them.
func (c check) explain(ctx context.Context, blocked *cleanup.Blocker, pod *corev1.Pod) {
	if blocked.Cause != cleanup.BlockedByBudget && blocked.Cause != cleanup.BlockedByBudgets {
		return
	}
	if explained := c.read(ctx, pod); explained != nil {
		blocked.Cause, blocked.Remedy = explained.Cause, explained.Remedy
		if explained.Cause == cleanup.BlockedByBudgetStatus {
			// The API server only reports that it is still processing the budget, which never
			// ends.
			blocked.Message = explained.Message
		}
	}
}

// read returns how budgets block the Pod, nil if none does or they may not be read.
func (c check) read(ctx context.Context, pod *corev1.Pod) *cleanup.Blocker {
	if c.budgets[pod.Namespace] == nil {
		budgets, err := c.client.PolicyV1().PodDisruptionBudgets(pod.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			budgets = &policyv1.PodDisruptionBudgetList{} // The effect has the error of the eviction already.
		}
		c.budgets[pod.Namespace] = budgets
	}
	blocked := pods.Explain(pod, c.budgets[pod.Namespace].Items, nil)
	if blocked == nil {
		return nil
	}
	if _, listed := c.pending[pod.Namespace]; !listed {
		list, err := c.client.CoreV1().Pods(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
		if err != nil {
			list = &corev1.PodList{} // What blocks is known without them.
		}
		c.pending[pod.Namespace] = list.Items
	}
	return pods.Explain(pod, c.budgets[pod.Namespace].Items, c.pending[pod.Namespace])
}

// readBudgets names a budget that blocks the Pod, for a caller who has no right to evict but can
// read budgets. If no budget blocks, the effect stays unchecked: an eviction can fail for other
// reasons.
func (c check) readBudgets(ctx context.Context, effect *cleanup.Effect, pod *corev1.Pod, denied error) {
	effect.Unchecked = oneLine(denied)
	if blocked := c.read(ctx, pod); blocked != nil {
		effect.Blocked, effect.Unchecked = blocked, ""
	}
}
