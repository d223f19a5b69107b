package drain_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// deployment creates a Deployment, and waits until its Pods run.
func (f *fixture) deployment(name string, replicas int32, change ...func(*appsv1.Deployment)) {
	f.Helper()
	f.newDeployment(name, replicas, change...)
	f.eventually("the Pods of deployment "+name+" run", func(ctx context.Context) (bool, error) {
		current, err := f.client.AppsV1().Deployments(f.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && current.Status.ReadyReplicas == replicas, err
	})
}

// newDeployment creates a Deployment of Pods with the label app=name.
func (f *fixture) newDeployment(name string, replicas int32, change ...func(*appsv1.Deployment)) {
	f.Helper()
	pod := cluster.MakePod(f.namespace, name, "")
	wanted := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	for _, c := range change {
		c(wanted)
	}
	if _, err := f.client.AppsV1().Deployments(f.namespace).Create(f.Context(), wanted, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// A Pod whose template has spec.nodeName comes back whatever is cordoned.
func TestADeploymentThatPutsItsPodsBackIsNamedAndNotEvictedWithoutEnd(t *testing.T) {
	f := setUp(t)
	f.deployment("cart", 2, func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.NodeName = f.node.Name
		deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	})
	controller := "controller Deployment " + f.namespace + "/cart puts its Pods back on this node"
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	if foreseen := slices.DeleteFunc(effects, func(effect cleanup.Effect) bool {
		return effect.Blocked == nil || effect.Blocked.Cause != cleanup.BlockedByController || !strings.HasPrefix(effect.Blocked.Message, controller)
	}); len(foreseen) != 2 {
		t.Errorf("foreseen: %v", foreseen)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the drain gives up for this attempt", func(context.Context) (bool, error) {
		return f.said(" and 1 more (" + controller + "; no further eviction in this attempt)"), nil
	})
	if asked := f.requests(func(event cluster.AuditEvent) bool { return event.Subresource == "eviction" && writes(event) }); len(asked) != 6 {
		t.Errorf("%d evictions, want 2 and 4 of the Pods that came back", len(asked))
	}
	if _, err := f.client.AppsV1().Deployments(f.namespace).Patch(t.Context(), "cart", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
