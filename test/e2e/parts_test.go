//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

// part is one thing that is proved; those after it may need it.
type part struct {
	proves string
	run    func(*testing.T)
}

// prove runs the parts of one way to install, in order, and prints a line for each.
func prove(t *testing.T, way string, parts ...part) {
	t.Helper()
	for _, one := range parts {
		began, word := time.Now(), "proved"
		if !t.Run(one.proves, one.run) {
			word = "FAILED"
		}
		fmt.Printf("%s  %-9s  %s (%.1fs)\n", word, way, one.proves, time.Since(began).Seconds())
		if t.Failed() {
			tellTheState(t)
			t.Fatalf("the other parts need that %s", one.proves)
		}
	}
}

// tellTheState logs the state that an operator would look at.
func tellTheState(t *testing.T) {
	t.Helper()
	for _, arguments := range [][]string{
		{"get", "nodes,pods,jobs", "--all-namespaces", "--output", "wide"},
		{"get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"},
		{"logs", "--namespace", api.Namespace, "--selector", "app.kubernetes.io/part-of=" + api.LabelNameValue, "--prefix", "--tail", "50"},
	} {
		program(t, "", shared.Kubectl(), arguments...)
	}
}

// What each way to install is held against; node is the name of one that kwok plays.

func checkFindsNothing(t *testing.T) {
	run(t, exit.OK, "check")
	run(t, exit.OK, "status")
}

func protectsAtOnce(node string) func(*testing.T) {
	return func(t *testing.T) {
		// The Service reaches an agent a moment after it is ready.
		eventually(t, "a node would get the finalizer", func(ctx context.Context) (bool, error) {
			made, err := makeNode(ctx, node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && api.HasFinalizer(made), err
		})
		made, err := makeNode(t.Context(), node, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !api.HasFinalizer(made) {
			t.Errorf("finalizers %v: the API server did not reach the agent", made.Finalizers)
		}
	}
}

func drains(node, steps string) func(*testing.T) {
	return func(t *testing.T) {
		makePods(t, node, 3)
		deleteNode(t, node)
		eventually(t, "node "+node+" is deleted", isDeleted(node))
		if said := run(t, exit.OK, "history", node); !strings.Contains(said, "Succeeded") || !strings.Contains(said, steps) {
			t.Errorf("history: %s", said)
		}
	}
}

// wantAgents wants two of a version in a restricted namespace, and no other.
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

func awaitOldDeleted(t *testing.T) {
	t.Helper()
	eventually(t, "the old agents have stopped", func(context.Context) (bool, error) { return len(agents(t)) == 2, nil })
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

// makePods creates a ReplicaSet whose pods run only on that node.
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

// deleteBlocked creates a node, deletes it, and returns when a budget blocks its drain. unblock
// removes the blocker.
func deleteBlocked(t *testing.T, name string) (unblock func()) {
	t.Helper()
	if _, err := makeNode(t.Context(), name, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	makePods(t, name, 1)
	budgets := client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault)
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, MinAvailable: new(intstr.FromInt32(1)),
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget counts the pod", func(ctx context.Context) (bool, error) {
		budget, err := budgets.Get(ctx, name, metav1.GetOptions{})
		return err == nil && budget.Status.CurrentHealthy == 1, err
	})
	deleteNode(t, name)
	eventually(t, "the budget blocks the drain of "+name, func(ctx context.Context) (bool, error) {
		blocked, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		condition := api.CleanupConditionOf(blocked)
		return condition != nil && strings.Contains(condition.Message, name), nil
	})
	return func() {
		t.Helper()
		if err := budgets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func isDeleted(name string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}
}

// wantNothingLeft checks that no object of an install remains outside of its namespace.
func wantNothingLeft(t *testing.T) {
	t.Helper()
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range nodes.Items {
		if api.HasFinalizer(&one) || api.CleanupConditionOf(&one) != nil {
			t.Errorf("node %s still has finalizers %v, condition %v", one.Name, one.Finalizers, api.CleanupConditionOf(&one))
		}
	}
	objects := dynamic.NewForConfigOrDie(shared.RESTConfig())
	for _, of := range []struct{ group, resource string }{
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations"}, {"admissionregistration.k8s.io", "validatingwebhookconfigurations"},
		{"admissionregistration.k8s.io", "mutatingadmissionpolicies"}, {"admissionregistration.k8s.io", "mutatingadmissionpolicybindings"},
		{"admissionregistration.k8s.io", "validatingadmissionpolicies"}, {"admissionregistration.k8s.io", "validatingadmissionpolicybindings"},
		{"rbac.authorization.k8s.io", "clusterroles"}, {"rbac.authorization.k8s.io", "clusterrolebindings"},
		{"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "rolebindings"},
		{"flowcontrol.apiserver.k8s.io", "flowschemas"},
	} {
		left, err := objects.Resource(schema.GroupVersionResource{Group: of.group, Version: "v1", Resource: of.resource}).
			List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=" + api.LabelNameValue})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range left.Items {
			t.Errorf("%s %s is left", of.resource, one.GetName())
		}
	}
}

func awaitNoNamespace(t *testing.T) {
	t.Helper()
	eventually(t, "namespace "+api.Namespace+" is deleted", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, api.Namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}
