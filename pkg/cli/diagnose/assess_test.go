package diagnose

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer/printertest"
)

var night = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// missingSecrets is Secret inventory, of which a step uses two keys.
func missingSecrets(t *testing.T, step string) []*preview.MissingSecret {
	settings := &config.Config{Steps: []config.Step{{Name: step, Secrets: []cleanup.SecretKey{{Name: "inventory", Key: "token"}, {Name: "inventory", Key: "url"}}}}}
	missing, err := preview.MissingSecrets(t.Context(), fake.NewClientset(), api.Namespace, settings)
	if err != nil {
		t.Fatal(err)
	}
	return missing
}

func ago(length time.Duration) metav1.Time { return metav1.NewTime(night.Add(-length)) }

// running is a node in the second of three steps, with all else in order but the
// webhook, which this test leaves out.
func running() *found {
	drained := ago(12 * time.Minute)
	return &found{
		name: "ip-10-0-7", namespace: api.Namespace, evidence: []string{"agent", "run record"},
		node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "ip-10-0-7", UID: "u-1", Finalizers: []string{api.Finalizer}, DeletionTimestamp: ptr.To(ago(14 * time.Minute))},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{api.CleanupCondition(api.Running, "running step storage", ago(time.Minute))}},
		},
		run: &api.Run{Node: "ip-10-0-7", NodeUID: "u-1", State: api.Running, Steps: []api.StepRun{
			{Name: "drain", Plugin: "drain", Critical: true, State: api.StepSucceeded, FinishedAt: &drained},
			{Name: "storage", Plugin: "http", Critical: true, State: api.StepRunning, Attempts: 1, Progress: "3 volumes left"},
			{Name: "tell", Plugin: "http", State: api.StepPending},
		}},
		agent: &inspect.Snapshot{
			Namespace:  api.Namespace,
			Deployment: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2}},
			Leadership: cluster.Leadership{HasLeader: true, Lease: &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
				HolderIdentity: ptr.To("agent-1"), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(night)),
			}}},
			Status:  &api.AgentStatus{Version: "v0.3.1"},
			Webhook: webhookWithURL(),
		},
	}
}

func webhookWithURL() *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{Name: api.WebhookHook}}}
}

func pod(name string, change func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "cart"}}}
	change(&pod)
	return pod
}

func TestEveryCauseGolden(t *testing.T) {
	failed := func(f *found, state api.StepState) *api.StepRun {
		step := &f.run.Steps[1]
		step.State, step.Attempts, step.Failures, step.LastError = state, 6, 6, "PUT https://storage/: 503 Service Unavailable"
		return step
	}
	draining := func(f *found) {
		f.run.Steps[0] = api.StepRun{Name: "drain", Plugin: "drain", Critical: true, State: api.StepRunning, Attempts: 1}
		f.run.Steps[1] = api.StepRun{Name: "storage", Plugin: "http", Critical: true, State: api.StepPending}
	}
	healthy := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	budget := func(current, desired int32) policyv1.PodDisruptionBudget {
		return policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}},
			Status:     policyv1.PodDisruptionBudgetStatus{DesiredHealthy: desired, CurrentHealthy: current, ExpectedPods: desired},
		}
	}
	undecodable := &api.RecordError{Record: "run-ip-10-0-7-u-1", Err: errors.New("unexpected end of JSON input")}
	blockedBy := func(f *found, unhealthy string) {
		f.run.State, f.run.Steps = api.Blocked, nil
		f.node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Blocked, api.NotStarted+unhealthy, ago(time.Minute))}
	}
	for name, test := range map[string]struct {
		change func(*found)
		// cause is the first one, empty when there must be none.
		cause string
	}{
		"on-its-way": {func(*found) {}, ""},
		"deleted-by": {func(f *found) {
			f.run.RequestedBy = "jane"
		}, ""},
		"agent-missing": {func(f *found) { f.agent.Deployment, f.agent.Leadership = nil, cluster.Leadership{} }, "agent-missing"},
		"agent-down":    {func(f *found) { f.agent.Deployment.Status.ReadyReplicas = 0 }, "agent-down"},
		"rights-missing-with-the-binding": {func(f *found) {
			f.agent.MissingGrants = []string{"ClusterRoleBinding nodecleanup-agent does not exist"}
			f.rights = &rights.Report{Objects: f.agent.MissingGrants, Own: []access.Right{{Verb: "get", Resource: "nodes"}}, Command: "kubectl nodecleanup install --wait"}
		}, "rights-missing"},
		"rights-missing-with-what-follows": {func(f *found) {
			f.rights = &rights.Report{Own: []access.Right{{Verb: "get", Resource: "configmaps", Namespace: "nodecleanup-system"}}, Command: "kubectl nodecleanup install --wait"}
			f.run.State = api.Blocked
			f.run.Steps[1].State, f.run.Steps[1].LastError = api.StepRetrying, `pods is forbidden: User "agent" cannot list resource "pods"`
			f.node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Blocked, api.AwaitsRecord+`configmaps "run-a" is forbidden`, ago(time.Minute))}
		}, "rights-missing"},
		"rights-missing-not-read": {func(f *found) {
			f.agent.MissingGrants = []string{"ClusterRoleBinding nodecleanup-agent does not exist"}
		}, "rights-missing"},
		"rights-missing-with-the-role-of-the-steps": {func(f *found) {
			f.agent.MissingGrants = []string{"ClusterRole nodecleanup-agent-steps does not exist"}
			f.rights = &rights.Report{
				Objects: f.agent.MissingGrants, Command: "kubectl nodecleanup install --wait",
				Lacks: []access.Lack{{Step: "drain", Missing: []access.Right{{Verb: "list", Resource: "pods"}}}},
			}
			blockedBy(f, "step drain (drain): the agent lacks rights: list pods")
		}, "rights-missing"},
		"rights-granted-again": {func(f *found) {
			f.rights = &rights.Report{}
			blockedBy(f, "step drain (drain): the agent lacks rights: list pods; step tell (http): the agent lacks rights: list nodes")
		}, "blocked"},
		"steps-healthy-again": {func(f *found) {
			f.rights = &rights.Report{}
			blockedBy(f, "step tell (http): connection refused")
			f.run.Message, f.run.CheckAgainAt = api.NotStarted+"step tell (http): connection refused", ptr.To(metav1.NewMicroTime(night.Add(20*time.Second)))
			f.agent.Status.Plugins = []api.PluginHealth{{Step: "tell", Plugin: "http", Critical: true, Checks: true, CheckedAt: ptr.To(ago(2 * time.Second))}}
		}, "blocked"},
		"steps-healthy-before-the-last-leader-stopped": {func(f *found) {
			f.rights, f.agent.Leadership = &rights.Report{}, cluster.Leadership{}
			blockedBy(f, "step tell (http): connection refused")
			f.run.Message, f.run.CheckAgainAt = api.NotStarted+"step tell (http): connection refused", ptr.To(metav1.NewMicroTime(night.Add(20*time.Second)))
			f.agent.Status.Plugins = []api.PluginHealth{{Step: "tell", Plugin: "http", Critical: true, Checks: true, CheckedAt: ptr.To(ago(2 * time.Second))}}
		}, "no-leader"},
		"rights-granted-again-beside-another-fault": {func(f *found) {
			f.rights = &rights.Report{}
			blockedBy(f, "step drain (drain): the agent lacks rights: list pods; step tell (http): connection refused")
		}, "blocked"},
		"role-of-the-steps-missing-that-no-step-needs": {func(f *found) {
			f.agent.MissingGrants = []string{"ClusterRole nodecleanup-agent-steps does not exist"}
			f.rights = (&rights.Report{Objects: f.agent.MissingGrants, Command: "kubectl nodecleanup install --wait"}).Of([]string{"tell"})
		}, ""},
		"scaled-to-0": {func(f *found) {
			f.agent.Deployment.Spec.Replicas, f.agent.Leadership = ptr.To[int32](0), cluster.Leadership{}
		}, "agent-down"},
		"paused": {func(f *found) {
			f.run = &api.Run{Node: f.name, State: api.Pending}
			f.agent.Status.Pause = api.Pause{Paused: true, By: "alice", At: night.Add(-12 * time.Minute), Reason: "INC-7"}
		}, "pause"},
		"brake": {func(f *found) {
			f.run = nil
			f.agent.Status.Brake = api.Brake{Since: ptr.To(ago(12 * time.Minute)), Reason: "41 of 200 protected nodes are terminating (limit 20%)"}
		}, "brake"},
		"window": {func(f *found) {
			f.run = nil
			f.agent.Status.Brake = api.Brake{WindowOpensAt: ptr.To(ago(-2 * time.Hour))}
		}, "window"},
		"begun-before-a-pause": {func(f *found) {
			f.agent.Status.Pause = api.Pause{Paused: true, By: "alice", At: night.Add(-12 * time.Minute), Reason: "INC-7"}
		}, ""},
		"no-leader": {func(f *found) {
			f.agent.Leadership.HasLeader, f.agent.Leadership.Lease.Spec.RenewTime = false, ptr.To(metav1.NewMicroTime(night.Add(-10*time.Minute)))
		}, "no-leader"},
		"no-leader-during-a-drain": {func(f *found) {
			draining(f)
			f.run.Steps[0].Progress = "1 pod remaining: shop/cart-0 (change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart)"
			f.run.Steps[1].State, f.run.Steps[1].Attempts = api.StepRetrying, 2
			f.agent.Leadership.HasLeader, f.agent.Leadership.Lease.Spec.RenewTime = false, ptr.To(metav1.NewMicroTime(night.Add(-10*time.Minute)))
		}, "no-leader"},
		"config-refused": {func(f *found) { f.refused = errors.New("line 3: unknown field \"dryrun\"") }, "config-refused"},
		"config-refused-by-the-agent": {func(f *found) {
			f.agent.Status.ConfigError, f.agent.Status.AcceptedConfig = "line 5: unknown plugin \"drian\"", "steps: []"
		}, "config-refused"},
		"config-deleted": {func(f *found) {
			f.noConfig = true
			f.agent.Status.ConfigError = "configmap nodecleanup-system/nodecleanup-config was deleted: an agent cannot start without a config"
			f.agent.Status.AcceptedConfig = "steps: []"
		}, "config-refused"},
		"config-deleted-not-published": {func(f *found) {
			f.noConfig = true
			f.agent.Status.ConfigError = "configmap nodecleanup-system/nodecleanup-config was deleted: an agent cannot start without a config"
		}, "config-refused"},
		"blocked-by-an-address": {func(f *found) {
			f.run.State, f.run.Steps = api.Blocked, nil
			f.node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Blocked, "not started, a critical step is unhealthy: step storage (http): connecting to the URL in secret storage/url: connection refused", ago(time.Minute))}
			f.planned = []config.Step{{Name: "storage", Plugin: "http", Critical: true, Options: []byte(`{"url":{"secretKeyRef":{"name":"storage","key":"url"}}}`), Secrets: []cleanup.SecretKey{{Name: "storage", Key: "url"}}}}
		}, "blocked"},
		"blocked-by-an-address-with-a-secret-header": {func(f *found) {
			f.run.State, f.run.Steps = api.Blocked, nil
			f.node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Blocked, "not started, a critical step is unhealthy: step storage (http): connection refused", ago(time.Minute))}
			f.planned = []config.Step{{
				Name: "storage", Plugin: "http", Critical: true, Secrets: []cleanup.SecretKey{{Name: "inventory", Key: "authorization"}},
				Options: []byte(`{"url":"http://inventory:8080","headers":[{"name":"Authorization","value":{"secretKeyRef":{"name":"inventory","key":"authorization"}}}]}`),
			}}
		}, "blocked"},
		"blocked-by-an-address-in-the-config": {func(f *found) {
			f.run.State, f.run.Steps = api.Blocked, nil
			f.node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Blocked, "not started, a critical step is unhealthy: step storage (http): connection refused", ago(time.Minute))}
			f.planned = []config.Step{{Name: "storage", Plugin: "http", Critical: true}}
		}, "blocked"},
		"crash-on-the-config": {func(f *found) {
			f.agent.Deployment.Status.ReadyReplicas, f.agent.Leadership = 0, cluster.Leadership{}
			f.agent.Stall = &cluster.Stall{Text: "pod agent-1: CrashLoopBackOff: exit code 1: line 5: unknown plugin \"drian\"", Pod: "agent-1", Crashed: true}
			f.agent.ConfigFault = "line 5: unknown plugin \"drian\""
			f.refused = errors.New(f.agent.ConfigFault)
		}, "no-leader"},
		"secret-missing": {func(f *found) { f.missing = missingSecrets(t, "tell") }, "secret-missing"},
		"pods-put-back": {func(f *found) {
			draining(f)
			f.node.Spec.Unschedulable = true
			f.node.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: night.Add(-time.Hour)}, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:unschedulable":{}}}`)}}}
			of := func(kind, name string, age time.Duration) func(*corev1.Pod) {
				return func(p *corev1.Pod) {
					p.CreationTimestamp = metav1.NewTime(night.Add(-age))
					p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: ptr.To(true)}}
				}
			}
			pinned := pod("cart-0", of("StatefulSet", "cart", time.Minute))
			pinned.ManagedFields = []metav1.ManagedFieldsEntry{{FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:nodeName":{}}}`)}}}
			f.pods = []corev1.Pod{pinned, pod("cart-1", of("StatefulSet", "cart", time.Second)), pod("web-0", of("ReplicaSet", "web", time.Second)),
				pod("before", of("ReplicaSet", "before", 2*time.Hour)), pod("at-once", of("ReplicaSet", "at-once", time.Hour-time.Second)), pod("log", of("DaemonSet", "log", time.Second))}
		}, "pods-put-back"},
		"budget-blocking": {func(f *found) {
			draining(f)
			f.pods = []corev1.Pod{pod("cart-0", healthy), pod("done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}
			f.budgets = []policyv1.PodDisruptionBudget{budget(1, 1)}
			roomy := f.budgets[0]
			roomy.Name, roomy.Status.DisruptionsAllowed = "roomy", 1
			roomy.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
			elsewhere := f.budgets[0]
			elsewhere.Namespace = "ops"
			f.budgets = append(f.budgets, roomy, elsewhere)
		}, "budget-blocking"},
		"blocked-before-a-drain-that-a-budget-will-block": {func(f *found) {
			blockedBy(f, "step tell (http): connection refused")
			f.planned = []config.Step{{Name: "drain", Plugin: "drain", Critical: true}, {Name: "tell", Plugin: "http", Critical: true}}
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1)}
		}, "blocked"},
		"budget-with-pending-replacements": {func(f *found) {
			draining(f)
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1)}
			f.pending = []corev1.Pod{pod("cart-9", func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 node(s) were unschedulable.",
				}}}
			})}
		}, "budget-blocking"},
		"budget-of-a-pod-that-is-not-healthy": {func(f *found) {
			draining(f)
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", func(*corev1.Pod) {})}, []policyv1.PodDisruptionBudget{budget(0, 1)}
		}, "budget-blocking"},
		"budget-that-lets-pods-go-that-are-not-healthy": {func(f *found) {
			draining(f)
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", func(*corev1.Pod) {})}, []policyv1.PodDisruptionBudget{budget(0, 1)}
			f.budgets[0].Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.AlwaysAllow)
		}, ""},
		"budget-of-a-pod-that-is-not-ready-for-long": {func(f *found) {
			draining(f)
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: ago(3 * time.Hour)}}
			})}, []policyv1.PodDisruptionBudget{budget(0, 1)}
		}, "budget-blocking"},
		"budgets-two-on-one-pod": {func(f *found) {
			draining(f)
			second := budget(1, 1)
			second.Name, second.Status.DisruptionsAllowed = "all", 1
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1), second}
		}, "budget-blocking"},
		"budget-not-computed": {func(f *found) {
			draining(f)
			odd := budget(1, 1)
			odd.Status.Conditions = []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "found no controllers for pod cart-0"}}
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{odd}
		}, "budget-blocking"},
		"eviction-denied": {func(f *found) {
			draining(f)
			f.denied = []cleanup.Effect{{Action: cleanup.Evict, Object: cleanup.Object{Kind: cleanup.KindPod, Namespace: "shop", Name: "cart-0"}, Blocked: &cleanup.Blocker{
				Cause: cleanup.BlockedByWebhook, Message: "failed calling webhook evictions.example.com", Remedy: "fix the service behind admission webhook evictions.example.com",
			}}}
		}, "eviction-denied"},
		"eviction-not-allowed-beside-a-budget": {func(f *found) {
			draining(f)
			f.run.Steps[0].State, f.run.Steps[0].LastError = api.StepRetrying, "not draining node ip-10-0-7, some pods must not be evicted"
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1)}
			f.forbidden = []forbidden{{config.Step{Name: "drain"}, cleanup.Effect{Action: cleanup.Evict, Object: cleanup.Object{Kind: cleanup.KindPod, Namespace: "shop", Name: "alone"}, Blocked: &cleanup.Blocker{
				Cause: cleanup.BlockedByOption, Option: "allowUnmanaged", Message: "it has no controller that would create it again (option allowUnmanaged)",
			}}}}
		}, "eviction-not-allowed"},
		"pods-not-evictable-deleted": {func(f *found) {
			draining(f)
			f.run.Steps[0].State, f.run.Steps[0].LastError = api.StepRetrying, "not draining node ip-10-0-7, some pods must not be evicted: shop/alone: it has no controller that would create it again (option allowUnmanaged)"
			f.run.Steps[0].NextAttemptAt = ptr.To(metav1.NewMicroTime(night.Add(40 * time.Second)))
			f.planned, f.evidence = []config.Step{{Name: "drain", Plugin: "drain"}}, append(f.evidence, evictionsRead)
		}, "plugin-failing"},
		"plugin-failing-without-a-health-check": {func(f *found) {
			draining(f)
			f.run.Steps[0].State, f.run.Steps[0].LastError = api.StepRetrying, "listing the pods: the server is too busy"
			f.agent.Status.Plugins = []api.PluginHealth{{Step: "drain", Plugin: "drain", Critical: true}}
		}, "plugin-failing"},
		"step-rights-missing": {func(f *found) {
			f.rights = &rights.Report{
				Lacks: []access.Lack{{Step: "drain", Missing: []access.Right{{Verb: "delete", Resource: "pods"}}}}, Command: "kubectl nodecleanup install --wait",
			}
		}, "step-rights-missing"},
		"waiting-for-a-step":      {func(f *found) { f.run.Steps[1].StartedAt = ptr.To(ago(12 * time.Minute)) }, "waiting"},
		"on-its-way-for-a-moment": {func(f *found) { f.run.Steps[1].StartedAt = ptr.To(ago(30 * time.Second)) }, ""},
		"waiting-to-begin": {func(f *found) {
			f.run = nil
			f.node.Status.Conditions[0] = api.CleanupCondition(api.Pending, "waiting for one of 50 other cleanups", ago(time.Minute))
		}, "waiting"},
		"waiting-for-the-agent": {func(f *found) {
			f.run, f.node.Status.Conditions, f.node.DeletionTimestamp = nil, nil, ptr.To(ago(75*time.Second))
			f.agent.Leadership.Lease.Spec.AcquireTime = ptr.To(metav1.NewMicroTime(night.Add(-10 * time.Second)))
		}, "waiting"},
		"budget-with-enough-others": {func(f *found) {
			draining(f)
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", func(*corev1.Pod) {})}, []policyv1.PodDisruptionBudget{budget(2, 2)}
		}, ""},
		"budget-with-no-drain-left": {func(f *found) {
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1)}
		}, ""},
		"budget-with-no-drain-planned": {func(f *found) {
			f.run, f.planned = nil, []config.Step{{Name: "tell", Plugin: "http"}}
			f.pods, f.budgets = []corev1.Pod{pod("cart-0", healthy)}, []policyv1.PodDisruptionBudget{budget(1, 1)}
		}, "waiting"},
		"pod-terminating-when-no-step-waits": {func(f *found) {
			f.pods = []corev1.Pod{pod("cart-0", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(ago(9 * time.Minute)) })}
		}, ""},
		"pod-terminating": {func(f *found) {
			draining(f)
			f.pods = []corev1.Pod{pod("cart-0", func(p *corev1.Pod) {
				p.DeletionTimestamp, p.Finalizers = ptr.To(ago(9*time.Minute)), []string{"example.com/hold"}
			})}
		}, "pod-terminating"},
		"pod-terminating-beside-a-missing-secret": {func(f *found) {
			draining(f)
			f.pods = []corev1.Pod{
				pod("cart-0", func(p *corev1.Pod) {
					p.DeletionTimestamp, p.Finalizers = ptr.To(ago(5*time.Second)), []string{"example.com/hold"}
				}),
				pod("cart-1", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(ago(5 * time.Second)) }),
				pod("cart-2", func(p *corev1.Pod) {
					p.DeletionTimestamp, p.Finalizers = ptr.To(ago(-25*time.Second)), []string{"example.com/hold"}
				}),
			}
			f.missing = missingSecrets(t, "tell")
		}, "secret-missing"},
		"pod-terminating-on-a-dead-host": {func(f *found) {
			draining(f)
			f.pods = []corev1.Pod{pod("cart-0", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(ago(9 * time.Minute)) })}
		}, "pod-terminating"},
		"plugin-failing-without-its-secret": {func(f *found) {
			failed(f, api.StepRetrying).LastError = `secrets "inventory" not found`
			f.missing = missingSecrets(t, "storage")
		}, "secret-missing"},
		"plugin-failed-without-its-secret": {func(f *found) {
			failed(f, api.StepFailed).LastError = `secrets "inventory" not found`
			f.planned = []config.Step{{Name: "storage", Plugin: "http"}}
			f.missing = missingSecrets(t, "storage")
		}, "secret-missing"},
		"plugin-failed-with-a-refused-credential": {func(f *found) {
			failed(f, api.StepFailed).LastError = "sending POST to the URL in secret inventory/url: the answer is 401 Unauthorized"
			f.planned = []config.Step{{
				Name: "storage", Plugin: "http", Options: []byte(`{"url": {"secretKeyRef": {"name": "inventory", "key": "url"}}}`),
				Secrets: []cleanup.SecretKey{{Name: "inventory", Key: "token"}, {Name: "inventory", Key: "url"}},
			}}
		}, "plugin-failed"},
		"plugin-failing-with-a-refused-credential": {func(f *found) {
			failed(f, api.StepRetrying).LastError = "sending POST to https://storage/: the answer is 403 Forbidden"
			f.planned = []config.Step{{Name: "storage", Plugin: "http"}}
		}, "plugin-failing"},
		"plugin-failed-that-uses-a-secret": {func(f *found) {
			failed(f, api.StepFailed)
			f.planned = []config.Step{{Name: "storage", Plugin: "slack", Secrets: []cleanup.SecretKey{{Name: "chat", Key: "token"}, {Name: "chat", Key: "url"}}}}
		}, "plugin-failed"},
		"plugin-failed-at-an-address": {func(f *found) {
			failed(f, api.StepFailed)
			f.planned = []config.Step{{Name: "storage", Plugin: "http"}}
		}, "plugin-failed"},
		"volume-attached": {func(f *found) { f.volumes = []string{"pv-1", "pv-2"} }, "volume-attached"},
		"plugin-failing": {func(f *found) {
			failed(f, api.StepRetrying).NextAttemptAt = ptr.To(metav1.NewMicroTime(night.Add(40 * time.Second)))
		}, "plugin-failing"},
		"plugin-failed": {func(f *found) { failed(f, api.StepFailed) }, "plugin-failed"},
		"deadline":      {func(f *found) { f.run.DeadlinePassed = true }, "deadline"},
		"deadline-of-the-config": {func(f *found) {
			f.run, f.deadline = nil, config.Deadline{After: 5 * time.Minute, Action: config.Hold}
		}, "deadline"},
		"deadline-that-releases": {func(f *found) {
			f.run.DeadlinePassed, f.deadline = true, config.Deadline{After: 5 * time.Minute, Action: config.Release}
		}, "deadline"},
		"other-finalizers": {func(f *found) {
			f.node.Finalizers = []string{"wrangler.cattle.io/node", "example.com/theirs"}
		}, "other-finalizers"},
		"unprotected": {func(f *found) {
			f.node.Finalizers, f.node.Status.Conditions, f.run = []string{"wrangler.cattle.io/node"}, nil, nil
		}, "unprotected"},
		"unprotected-by-the-selector": {func(f *found) {
			f.node.Finalizers, f.node.Status.Conditions, f.run = []string{"wrangler.cattle.io/node"}, nil, nil
			f.selector = labels.SelectorFromSet(labels.Set{"pool": "blue"})
		}, "unprotected"},
		"no-ca": {func(f *found) { f.agent.Webhook = nil }, ""},
		"no-ca-but-a-policy": {func(f *found) {
			f.agent.Webhook.Webhooks[0].ClientConfig.CABundle = []byte("?")
			f.agent.Policy = &admissionv1.MutatingAdmissionPolicy{}
		}, ""},
		"rights-missing": {func(f *found) {
			f.rights = &rights.Report{
				Own: []access.Right{{Verb: "patch", Resource: "nodes", Subresource: "status"}}, Command: "kubectl nodecleanup install --force-conflicts --wait",
			}
		}, "rights-missing"},
		"node-invalid": {func(f *found) { f.invalid = errors.New("status.addresses[1]: Duplicate value") }, "node-invalid"},
		"host-returned": {func(f *found) {
			f.run.State, f.run.Host = api.Succeeded, &api.Host{BootID: "a"}
			f.node.Status.NodeInfo.BootID = "b"
		}, "host-returned"},
		"record-unreadable": {func(f *found) { f.run, f.unreadable = nil, undecodable }, "record-unreadable"},
		"record-unreadable-without-a-leader": {func(f *found) {
			f.run, f.unreadable, f.agent.Deployment.Spec.Replicas, f.agent.Leadership = nil, undecodable, ptr.To[int32](0), cluster.Leadership{}
		}, "agent-down"},
		"record-of-another-version": {func(f *found) {
			f.run, f.unreadable = nil, &api.RecordError{Record: "run-ip-10-0-7-u-1", Err: &api.VersionError{Version: "nodecleanup.io/v1beta1"}}
		}, ""},
		"record-unreadable-of-a-deleted-node":  {func(f *found) { f.node, f.run, f.undecodable = nil, nil, []error{undecodable} }, ""},
		"one-of-two-records-of-a-deleted-node": {func(f *found) { f.node, f.run.State, f.undecodable = nil, api.Succeeded, []error{undecodable} }, ""},
		"newer-record": {func(f *found) {
			f.run.State, f.run.Steps[1] = "Verifying", api.StepRun{Name: "bmc", Plugin: "redfish", Critical: true, State: "PoweringOff"}
			f.node.Status.Conditions[0] = api.CleanupCondition("Verifying", "looking again", ago(time.Minute))
		}, ""},
		"newer-record-of-a-deleted-node": {func(f *found) {
			f.node, f.run.State, f.run.Message = nil, "Archived", "kept by the archive"
		}, ""},
		"bypass-unreadable": {func(f *found) { f.node.Annotations = map[string]string{api.AnnotationBypass: "yess"} }, "bypass-unreadable"},
		"blocked": {func(f *found) {
			f.node.Status.Conditions[0] = api.CleanupCondition(api.Blocked, "step storage is not healthy: no route to host", ago(time.Minute))
		}, "blocked"},
		"bypass-marked": {func(f *found) {
			f.node.DeletionTimestamp = nil
			f.node.Annotations = map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassBy: "alice", api.AnnotationBypassReason: "rebuild", api.AnnotationBypassUntil: night.Add(time.Hour).Format(time.RFC3339)}
		}, ""},
		"bypass-marked-and-requested": {func(f *found) {
			f.node.DeletionTimestamp = nil
			f.node.Annotations = map[string]string{api.AnnotationBypass: "yess", api.AnnotationCleanupRequestedAt: "2026-11-23T02:50:00Z", api.AnnotationCleanupRequestedBy: "jane"}
		}, "bypass-unreadable"},
		"not-selected": {func(f *found) {
			f.node.DeletionTimestamp, f.node.Finalizers = nil, nil
			f.selector = labels.SelectorFromSet(labels.Set{"pool": "blue"})
		}, ""},
		"not-protected-yet": {func(f *found) { f.node.DeletionTimestamp, f.node.Finalizers = nil, nil }, ""},
		"not-deleted":       {func(f *found) { f.node.DeletionTimestamp = nil }, ""},
		"requested": {func(f *found) {
			f.node.DeletionTimestamp = nil
			f.node.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "2026-11-23T02:50:00Z", api.AnnotationCleanupRequestedBy: "jane"}
		}, ""},
		"deleted": {func(f *found) { f.node, f.run.State, f.run.Message = nil, api.Succeeded, "every step is done" }, ""},
		"not-checked": {func(f *found) {
			f.unread = []printer.Unread{{What: "pods", Why: "pods is forbidden"}}
			f.events = []corev1.Event{{Reason: "StepStarted", Message: "Step storage (http) started", LastTimestamp: ago(time.Minute)}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := running()
			test.change(f)
			if !strings.HasPrefix(name, "no-ca") {
				publish(f)
			}
			view := assess(f, night)
			first := ""
			if len(view.Causes) > 0 {
				first = view.Causes[0].ID
			}
			if first != test.cause {
				t.Errorf("the first cause is %q, want %q", first, test.cause)
			}
			for _, cause := range view.Causes {
				if len(cause.Options) == 0 {
					t.Errorf("cause %s does not say what to do", cause.ID)
				}
			}
			var out bytes.Buffer
			if err := printer.Print(&out, printer.Table, false, view); err != nil {
				t.Fatal(err)
			}
			printertest.Golden(t, name+".txt", out.String())
		})
	}
}

// A skipped check does not count as healthy.
func TestShortNamesSkippedChecks(t *testing.T) {
	f := running()
	f.unread = []printer.Unread{{What: "pods", Why: "pods is forbidden"}, {What: "budgets", Why: "poddisruptionbudgets is forbidden"}}
	for missing, want := range map[bool]string{
		false: "ip-10-0-7: no cause found; not checked: pods, budgets\n",
		true:  "ip-10-0-7: secret-missing: secret nodecleanup-system/inventory of step tell is missing; not checked: pods, budgets\n",
	} {
		f.missing = nil
		if missing {
			f.missing = missingSecrets(t, "tell")
		}
		var out bytes.Buffer
		if err := printer.Print(&out, printer.Short, false, assess(f, night)); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
}

func TestDiagnosisInEveryForm(t *testing.T) {
	f := running()
	f.missing = missingSecrets(t, "tell")
	publish(f)
	for _, form := range printer.Forms {
		var out bytes.Buffer
		if err := printer.Print(&out, form, false, assess(f, night)); err != nil {
			t.Fatal(err)
		}
		printertest.Golden(t, "form-"+string(form)+".txt", out.String())
	}
}
