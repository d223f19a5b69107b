// Package kind_test runs an install on an existing cluster, such as kind's. It contains the parts
// of test/e2e that need no node of their own, for any version of Kubernetes.
package kind_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// Each part needs those before it.
func TestInstallLifecycle(t *testing.T) {
	f := newFixture(t)
	parts := []struct {
		proves string
		run    func(*testing.T, *fixture)
	}{
		{"agents are ready", installed},
		{"check and status find nothing wrong", checked},
		{"a node has the finalizer from its first moment", protected},
		{"a deleted node is removed when its pods are deleted", drained},
		{"an upgrade under load loses no node", upgraded},
		{"the policy is put beside the webhook, where the server has it", switched},
		{"uninstall leaves nothing", uninstalled},
	}
	for _, part := range parts {
		if !t.Run(part.proves, func(t *testing.T) { part.run(t, f) }) {
			t.Fatalf("the other parts need that %s", part.proves)
		}
	}
}

// The webhook alone: with the policy, a webhook Service without endpoints would not be noticed.
func installed(t *testing.T, f *fixture) {
	f.nodecleanup(t, exit.OK, "install", "--wait", "--image", f.old, "--config", f.config, "--admission", "webhook")
	f.wantAgents(t, f.old)
}

func checked(t *testing.T, f *fixture) {
	f.nodecleanup(t, exit.OK, "check")
	f.nodecleanup(t, exit.OK, "status")
}

func protected(t *testing.T, f *fixture) {
	if made := f.makeNode(t, fake); !api.HasFinalizer(made) {
		t.Errorf("the finalizers are %v", made.Finalizers)
	}
	for _, node := range f.nodes(t) {
		if !api.HasFinalizer(&node) {
			t.Errorf("node %s, which was there before, has the finalizers %v", node.Name, node.Finalizers)
		}
	}
}

func drained(t *testing.T, f *fixture) {
	stop := f.playKubelet(t, fake)
	defer stop()
	const count = 3
	set := f.client.AppsV1().ReplicaSets(f.pods)
	labels := map[string]string{"app": fake}
	pod := cluster.MakePod(f.pods, fake, "").Spec
	pod.NodeSelector = map[string]string{corev1.LabelHostname: fake}
	pod.Tolerations = []corev1.Toleration{{Key: fakeTaint, Operator: corev1.TolerationOpExists}, {Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}}
	if _, err := set.Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: fake},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32(count)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "its pods run", func(ctx context.Context) (bool, error) {
		got, err := set.Get(ctx, fake, metav1.GetOptions{})
		return err == nil && got.Status.ReadyReplicas == count, err
	})
	if err := f.client.CoreV1().Nodes().Delete(t.Context(), fake, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "the node is deleted", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().Nodes().Get(ctx, fake, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if said := f.nodecleanup(t, exit.OK, "history", fake); !strings.Contains(said, "Succeeded") || !strings.Contains(said, "2/2") {
		t.Errorf("history: %s", said)
	}
}

// Dry runs reach admission as any other request does, and leave nothing.
func upgraded(t *testing.T, f *fixture) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	counts := make([]int, 2)
	errs := make([]error, len(counts))
	for i := range counts {
		group.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				made, err := f.client.CoreV1().Nodes().Create(t.Context(), cluster.MakeNode(fmt.Sprintf("load-%d", i), nil),
					metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil && !api.HasFinalizer(made) {
					err = fmt.Errorf("creation %d: the finalizers are %v", counts[i], made.Finalizers)
				}
				errs[i] = err
				counts[i]++
			}
		})
	}
	f.nodecleanup(t, exit.OK, "install", "--wait", "--image", f.new, "--config", f.config, "--admission", "webhook")
	f.eventually(t, "the old agents have stopped", func(context.Context) (bool, error) { return len(f.agents(t)) == 2, nil })
	stop()
	group.Wait()
	t.Logf("creations during the upgrade: %d", counts)
	for i, err := range errs {
		if err != nil || counts[i] == 0 {
			t.Errorf("after %d creations: %v", counts[i], err)
		}
	}
	f.wantAgents(t, f.new)
	checked(t, f)
}

func switched(t *testing.T, f *fixture) {
	f.nodecleanup(t, exit.OK, "install", "--wait", "--image", f.new, "--config", f.config, "--admission", "auto")
	made, err := f.client.CoreV1().Nodes().Create(t.Context(), cluster.MakeNode("switched", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || !api.HasFinalizer(made) {
		t.Errorf("the finalizers are %v, %v", made.Finalizers, err)
	}
	f.wantAgents(t, f.new)
	checked(t, f)
}

func uninstalled(t *testing.T, f *fixture) {
	f.nodecleanup(t, exit.OK, "uninstall", "--yes")
	for _, node := range f.nodes(t) {
		if api.HasFinalizer(&node) || api.CleanupConditionOf(&node) != nil {
			t.Errorf("node %s has the finalizers %v, condition %v", node.Name, node.Finalizers, api.CleanupConditionOf(&node))
		}
	}
	f.wantNothingLeft(t)
}
