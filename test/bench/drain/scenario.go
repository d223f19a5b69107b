package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// scenario describes the drained Nodes and Pods. Each Node starts with the Pods of as many
// replicas as it has.
type scenario struct {
	name  string
	nodes int
	// pods of each Node. With one Node they are of one Deployment, with more there are as many
	// Deployments, and their Pods are on any of the Nodes.
	pods int
	// maxUnavailable of the budget of each Deployment, empty for no budget.
	maxUnavailable string
}

var scenarios = []scenario{
	{name: "25", nodes: 1, pods: 25, maxUnavailable: "20%"},
	{name: "150", nodes: 1, pods: 150, maxUnavailable: "20%"},
	{name: "20x30", nodes: 20, pods: 30},
}

func (s scenario) String() string {
	budget := "no budget"
	if s.maxUnavailable != "" {
		budget = "a budget of " + s.maxUnavailable
	}
	return fmt.Sprintf("%d nodes of %d pods, %s", s.nodes, s.pods, budget)
}

// wanted is the longest that any preparation of a turn may take.
const wanted = 2 * time.Minute

const (
	receivers = 4
	// room of a Node that receives Pods.
	room = 1000
)

// receive creates Nodes for the evicted Pods, and waits until Pods can be scheduled on them. Each
// turn has its own Nodes: kwok delays its next heartbeat with each change of a Node, so repeatedly
// cordoned Nodes would appear unreachable.
func (b *bench) receive(ctx context.Context, prefix string) ([]*corev1.Node, error) {
	var nodes []*corev1.Node
	for i := range receivers {
		node := cluster.MakeNode(fmt.Sprintf("%s-receiver-%d", prefix, i), nil)
		setPods(node, room)
		node, err := b.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, until(ctx, "pods can be scheduled on other nodes", func(ctx context.Context) (bool, error) {
		for _, each := range nodes {
			node, err := b.client.CoreV1().Nodes().Get(ctx, each.Name, metav1.GetOptions{})
			if err != nil || len(node.Spec.Taints) > 0 || !ready(node) {
				return false, err
			}
		}
		return true, nil
	})
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func setPods(node *corev1.Node, pods int) {
	quantity := *resource.NewQuantity(int64(pods), resource.DecimalSI)
	for _, list := range []corev1.ResourceList{node.Status.Capacity, node.Status.Allocatable} {
		list[corev1.ResourcePods] = quantity
	}
}

// place makes the Nodes of a turn and fills them with Pods. It returns the Nodes.
func (b *bench) place(ctx context.Context, s scenario, prefix string) ([]*corev1.Node, error) {
	nodes := make([]*corev1.Node, s.nodes)
	for i := range nodes {
		node := cluster.MakeNode(fmt.Sprintf("%s-%d", prefix, i), nil)
		setPods(node, s.pods)
		var err error
		if nodes[i], err = b.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	for i := range s.nodes {
		if err := b.deploy(ctx, s, fmt.Sprintf("%s-%d", prefix, i)); err != nil {
			return nil, err
		}
	}
	if err := b.settled(ctx, s); err != nil {
		return nil, err
	}
	return nodes, nil
}

func (b *bench) deploy(ctx context.Context, s scenario, name string) error {
	labels := map[string]string{"app": name}
	template := cluster.MakePod(namespace, name, "")
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(s.pods)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template.Spec},
		},
	}
	if _, err := b.client.AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return err
	}
	if s.maxUnavailable == "" {
		return nil
	}
	_, err := b.client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.Parse(s.maxUnavailable)),
			Selector:       &metav1.LabelSelector{MatchLabels: labels},
		},
	}, metav1.CreateOptions{})
	return err
}

// settled waits until all Pods are ready and the budgets have counted them.
func (b *bench) settled(ctx context.Context, s scenario) error {
	return until(ctx, "all pods are ready", func(ctx context.Context) (bool, error) {
		deployments, err := b.client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, each := range deployments.Items {
			if each.Status.ReadyReplicas != *each.Spec.Replicas {
				return false, nil
			}
		}
		budgets, err := b.client.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, each := range budgets.Items {
			if each.Status.CurrentHealthy != int32(s.pods) || each.Status.ObservedGeneration != each.Generation {
				return false, nil
			}
		}
		return true, nil
	})
}

// clear removes the objects of place, and waits until no Pod remains.
func (b *bench) clear(ctx context.Context, nodes []*corev1.Node) error {
	if err := b.client.AppsV1().Deployments(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	if err := b.client.PolicyV1().PodDisruptionBudgets(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	if err := until(ctx, "no pod is left", func(ctx context.Context) (bool, error) {
		pods, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, err
	}); err != nil {
		return err
	}
	for _, node := range nodes {
		if err := b.client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func until(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, wanted, true, condition); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}
