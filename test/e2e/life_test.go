//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

const settings = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {initialDelay: 1s, maxDelay: 5s}
steps:
- {name: drain, plugin: drain, critical: true, timeout: 5m}
- {name: volumes, plugin: volumes, critical: true, dependsOn: [drain]}
- {name: tell, plugin: logger, dependsOn: [volumes]}
`

// The life of an install: each part needs those before it.
func TestTheLifeOfAnInstall(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		proves string
		run    func(*testing.T)
	}{
		{"install brings up agents under the restricted level", func(t *testing.T) {
			// The webhook alone: with the policy, nobody would notice that it is not called.
			run(t, exit.OK, "install", "--wait", "--image", repository+":"+oldVersion, "--config", config, "--admission", "webhook")
			wantAgents(t, oldVersion)
		}},
		{"check and status find nothing wrong", func(t *testing.T) {
			run(t, exit.OK, "check")
			run(t, exit.OK, "status")
		}},
		{"admission reaches the agent through its Service", protectedAtOnce},
		{"a deleted node goes when its pods are gone", drained},
		{"another agent goes on when the leader is killed", leaderKilled},
		{"an upgrade under load loses no node", func(t *testing.T) { upgraded(t, config) }},
		{"uninstall leaves nothing", uninstalled},
	} {
		if !t.Run(part.proves, part.run) {
			t.Fatalf("the other parts need that %s", part.proves)
		}
	}
}

func wantAgents(t *testing.T, version string) {
	t.Helper()
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{})
	if err != nil || namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Fatalf("namespace labels %v, %v", namespace.Labels, err)
	}
	ready := 0
	for _, pod := range agents(t) {
		if pod.DeletionTimestamp == nil && pod.Spec.NodeName == node.Name && pod.Spec.Containers[0].Image == repository+":"+version && isReady(&pod) {
			ready++
		}
	}
	if ready != 2 {
		t.Fatalf("%d agents of version %s are ready on node %s, want 2", ready, version, node.Name)
	}
}

func agents(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := client.CoreV1().Pods(api.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// makeNode makes one that kwok plays the kubelet of, where only our pods come.
func makeNode(ctx context.Context, name string, options metav1.CreateOptions) (*corev1.Node, error) {
	made := cluster.MakeNode(name, nil)
	made.Spec.Taints = []corev1.Taint{{Key: "example.com/fake", Effect: corev1.TaintEffectNoSchedule}}
	return client.CoreV1().Nodes().Create(ctx, made, options)
}

func protectedAtOnce(t *testing.T) {
	made, err := makeNode(t.Context(), "fake-1", metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !api.HasFinalizer(made) {
		t.Errorf("finalizers %v: the API server did not reach the agent", made.Finalizers)
	}
}

// makePods makes a ReplicaSet whose pods run on that node and nowhere else.
func makePods(t *testing.T, on string, count int32) {
	t.Helper()
	pod := cluster.MakePod(metav1.NamespaceDefault, on, "")
	labels := map[string]string{"app": on}
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: on}
	pod.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/fake", Operator: corev1.TolerationOpExists}}
	if _, err := client.AppsV1().ReplicaSets(metav1.NamespaceDefault).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: on},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, fmt.Sprintf("%d pods run on %s", count, on), func(ctx context.Context) (bool, error) {
		set, err := client.AppsV1().ReplicaSets(metav1.NamespaceDefault).Get(ctx, on, metav1.GetOptions{})
		return err == nil && set.Status.ReadyReplicas == count, err
	})
}

func deleteNode(t *testing.T, name string) {
	t.Helper()
	if err := client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func isGone(name string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}
}

func drained(t *testing.T) {
	makePods(t, "fake-1", 3)
	deleteNode(t, "fake-1")
	eventually(t, "node fake-1 is gone", isGone("fake-1"))
	if said := run(t, exit.OK, "history", "fake-1"); !strings.Contains(said, "Succeeded") || !strings.Contains(said, "3/3") {
		t.Errorf("history: %s", said)
	}
}

func leaderKilled(t *testing.T) {
	if _, err := makeNode(t.Context(), "fake-2", metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	makePods(t, "fake-2", 1)
	budgets := client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault)
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "fake-2"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "fake-2"}}, MinAvailable: new(intstr.FromInt32(1)),
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget counts the pod", func(ctx context.Context) (bool, error) {
		budget, err := budgets.Get(ctx, "fake-2", metav1.GetOptions{})
		return err == nil && budget.Status.CurrentHealthy == 1, err
	})
	deleteNode(t, "fake-2")
	eventually(t, "the budget blocks the drain of fake-2", func(ctx context.Context) (bool, error) {
		blocked, err := client.CoreV1().Nodes().Get(ctx, "fake-2", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		condition := api.Cleanup(blocked)
		return condition != nil && strings.Contains(condition.Message, "fake-2"), nil
	})
	run(t, exit.Unhealthy, "diagnose", "fake-2")
	leader := leader(t)
	if err := client.CoreV1().Pods(api.Namespace).Delete(t.Context(), leader, *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatalf("killing the leader: %v", err)
	}
	if err := budgets.Delete(t.Context(), "fake-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "node fake-2 is gone", isGone("fake-2"))
	eventually(t, "two agents are ready again", func(context.Context) (bool, error) {
		ready := 0
		for _, pod := range agents(t) {
			if pod.Name != leader && isReady(&pod) {
				ready++
			}
		}
		return ready == 2, nil
	})
}

func leader(t *testing.T) string {
	t.Helper()
	lease, err := client.CoordinationV1().Leases(api.Namespace).Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *lease.Spec.HolderIdentity
}

func upgraded(t *testing.T, config string) {
	// With Fail, a request that is lost is an error, and not a node that the watcher protects later.
	fail := []string{"install", "--config", config, "--admission", "webhook", "--set", "failurePolicy=Fail,webhookTimeoutSeconds=20", "--wait"}
	run(t, exit.OK, append(fail, "--image", repository+":"+oldVersion)...)
	ctx, stop := context.WithCancel(t.Context())
	var calls, failed, unprotected atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				made, err := makeNode(t.Context(), fmt.Sprintf("load-%d", i), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				calls.Add(1)
				switch {
				case err != nil:
					if failed.Add(1) <= 3 {
						t.Errorf("a creation failed: %v", err)
					}
				case !api.HasFinalizer(made):
					unprotected.Add(1)
				}
			}
		})
	}
	run(t, exit.OK, append(fail, "--image", repository+":"+newVersion)...)
	eventually(t, "the old agents are gone", func(context.Context) (bool, error) { return len(agents(t)) == 2, nil })
	stop()
	group.Wait()
	t.Logf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	if calls.Load() == 0 || failed.Load() > 0 || unprotected.Load() > 0 {
		t.Errorf("%d creations during the upgrade: %d failed, %d unprotected", calls.Load(), failed.Load(), unprotected.Load())
	}
	wantAgents(t, newVersion)
	if said := run(t, exit.OK, "version"); !strings.Contains(said, newVersion) {
		t.Errorf("version: %s", said)
	}
}

func uninstalled(t *testing.T) {
	run(t, exit.OK, "uninstall", "--yes")
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range nodes.Items {
		if api.HasFinalizer(&one) {
			t.Errorf("node %s still has the finalizer", one.Name)
		}
	}
	webhooks, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(webhooks.Items) > 0 {
		t.Errorf("%d webhook configurations are left, %v", len(webhooks.Items), err)
	}
}
