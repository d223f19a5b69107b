package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// namespace of the demo's workload.
	namespace = "nodecleanup-demo"
	nodeCount = 3
	replicas  = 6
	// mark is the label and the taint of the demo's nodes. The demo's config selects this label.
	mark = "nodecleanup-demo"
	// stepTimeout is how long the demo waits for each thing that must happen.
	stepTimeout = 2 * time.Minute
)

func nodeName(number int) string { return fmt.Sprintf("demo-node-%d", number) }

// makeNode returns a node that accepts only the demo's Pods: other Pods of the user's cluster would seem
// to run on the fake node.
func makeNode(name string) *corev1.Node {
	node := cluster.MakeNode(name, map[string]string{mark: "true"})
	node.Spec.Taints = []corev1.Taint{{Key: mark, Effect: corev1.TaintEffectNoSchedule}}
	return node
}

// populate creates nodes and a workload that spreads over them, and returns the node to delete.
func (d *demo) populate(ctx context.Context) (*corev1.Node, error) {
	if err := d.awaitWebhook(ctx); err != nil {
		return nil, err
	}
	var deleted *corev1.Node
	for number := 1; number <= nodeCount; number++ {
		node, err := d.client.CoreV1().Nodes().Create(ctx, makeNode(nodeName(number)), metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("creating a node: %w", err)
		}
		d.made.nodes = append(d.made.nodes, node)
		how := "admission put the finalizer on it as it was created"
		if !api.HasFinalizer(node) {
			how = "this API server did not call the webhook on this machine; the agent adds the finalizer"
		}
		say("  node %s created; %s", node.Name, how)
		if deleted == nil {
			deleted = node
		}
	}
	if err := d.await(ctx, "the nodes are ready for pods", d.nodesReady); err != nil {
		return nil, err
	}
	if err := d.createWorkload(ctx); err != nil {
		return nil, err
	}
	if err := d.await(ctx, fmt.Sprintf("the %d pods of deployment web are ready", replicas), d.workloadReady); err != nil {
		return nil, err
	}
	err := d.await(ctx, "the node to delete has the finalizer", func(ctx context.Context) (bool, error) {
		node, err := d.client.CoreV1().Nodes().Get(ctx, deleted.Name, metav1.GetOptions{})
		return err == nil && api.HasFinalizer(node), err
	})
	if err != nil {
		return nil, err
	}
	pods, err := d.podsOn(ctx, deleted.Name)
	if err != nil {
		return nil, err
	}
	say("  %d pods run, %d of them on %s; a budget wants %d at any time", replicas, len(pods), deleted.Name, replicas-1)
	if len(pods) == 0 {
		return nil, fmt.Errorf("the scheduler put no pod on %s, so there is nothing to show", deleted.Name)
	}
	return deleted, nil
}

// awaitWebhook waits until the API server trusts the certificate that the agent published, and calls the
// webhook. The API server of the user's own cluster cannot reach this machine.
func (d *demo) awaitWebhook(ctx context.Context) error {
	if d.local == nil {
		return nil
	}
	return d.await(ctx, "the API server calls the webhook", func(ctx context.Context) (bool, error) {
		node, err := d.client.CoreV1().Nodes().Create(ctx, makeNode("demo-probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
}

func (d *demo) await(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, d.timeout, true, condition); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

func (d *demo) createWorkload(ctx context.Context) error {
	labels := map[string]string{"app": "web"}
	created, err := d.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err == nil {
		d.made.namespace = created
		_, err = d.client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: ptr.To(intstr.FromInt32(replicas - 1)),
				Selector:     &metav1.LabelSelector{MatchLabels: labels},
			},
		}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = d.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](replicas),
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{
						Containers: []corev1.Container{{Name: "web", Image: "localhost/web:1"}},
						// Only on the demo's nodes, and evenly.
						NodeSelector: map[string]string{mark: "true"},
						Tolerations:  []corev1.Toleration{{Key: mark, Operator: corev1.TolerationOpExists}},
						TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
							MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
							LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
						}},
					},
				},
			},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("creating the demo's workload: %w", err)
	}
	return nil
}

// nodesReady reports whether the scheduler accepts each of the demo's nodes.
func (d *demo) nodesReady(ctx context.Context) (bool, error) {
	for number := 1; number <= nodeCount; number++ {
		node, err := d.client.CoreV1().Nodes().Get(ctx, nodeName(number), metav1.GetOptions{})
		if err != nil || !api.Ready(node) || len(node.Spec.Taints) > 1 {
			return false, err
		}
	}
	return true, nil
}

func (d *demo) workloadReady(ctx context.Context) (bool, error) {
	deployment, err := d.client.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
	return err == nil && deployment.Status.ReadyReplicas == replicas, err
}

func (d *demo) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	pods, err := d.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, fmt.Errorf("listing the pods on %s: %w", node, err)
	}
	return pods.Items, nil
}

// deleteAndWatch deletes the Node and prints its Events, conditions and Pods until it is deleted.
func (d *demo) deleteAndWatch(ctx context.Context, node *corev1.Node) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	events, err := d.client.CoreV1().Events(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(node.UID)})
	if err != nil {
		return fmt.Errorf("watching Events: %w", err)
	}
	defer events.Stop()
	nodes, err := d.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + node.Name})
	if err != nil {
		return fmt.Errorf("watching the node: %w", err)
	}
	defer nodes.Stop()
	pods, err := d.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("watching the pods: %w", err)
	}
	defer pods.Stop()
	d.began = time.Now()
	if err := d.client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting the node: %w", err)
	}
	d.sayAt("delete requested; the finalizer %s holds the node", api.Finalizer)
	completed, deleted, condition := false, false, ""
	for !completed || !deleted {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the deletion of the node: %w (last condition: %s)", ctx.Err(), condition)
		case change, open := <-events.ResultChan():
			if !open {
				return fmt.Errorf("the API server ended the watch of Events before the node was deleted")
			}
			if event, is := change.Object.(*corev1.Event); is {
				d.sayAt("event      %-16s %s", event.Reason, event.Message)
				completed = completed || event.Reason == "CleanupCompleted"
			}
		case change, open := <-pods.ResultChan():
			if !open {
				return fmt.Errorf("the API server ended the watch of the pods before the node was deleted")
			}
			if pod, is := change.Object.(*corev1.Pod); is {
				d.sayPod(pod, change.Type, node.Name)
			}
		case change, open := <-nodes.ResultChan():
			if !open {
				return fmt.Errorf("the API server ended the watch of the node before it was deleted")
			}
			current, is := change.Object.(*corev1.Node)
			if !is || current.UID != node.UID {
				continue
			}
			if change.Type == "DELETED" {
				deleted = true
				d.sayAt("%s", d.released(ctx, node))
				continue
			}
			if cleanup := api.CleanupConditionOf(current); cleanup != nil && cleanup.Message != condition {
				condition = cleanup.Message
				d.sayAt("condition  %-16s %s", cleanup.Reason, cleanup.Message)
			}
		}
	}
	return nil
}

// released describes why the node is deleted. The agent records the end of the cleanup before it removes
// the finalizer.
func (d *demo) released(ctx context.Context, node *corev1.Node) string {
	run, err := d.run(ctx, node)
	if err != nil || run.State != api.Succeeded {
		return fmt.Sprintf("node %s is deleted, and no record shows that its steps are done", node.Name)
	}
	return fmt.Sprintf("the steps are done, the agent removed the finalizer: node %s is deleted", node.Name)
}

// sayPod prints the eviction of a pod from the node, and the start of its replacement.
func (d *demo) sayPod(pod *corev1.Pod, change watch.EventType, node string) {
	ready := slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
	switch {
	case pod.Spec.NodeName == node && change == watch.Deleted:
		d.sayAt("pod        %s was evicted and is deleted", pod.Name)
	case pod.Spec.NodeName != node && change == watch.Modified && ready && pod.CreationTimestamp.After(d.began.Add(-time.Second)):
		if !d.replaced[pod.Name] {
			d.replaced[pod.Name] = true
			d.sayAt("pod        %s is ready on %s and replaces an evicted one", pod.Name, pod.Spec.NodeName)
		}
	}
}

// sayAt prints a line with the time since the deletion request.
func (d *demo) sayAt(format string, arguments ...any) {
	say("  %6.2fs  %s", time.Since(d.began).Seconds(), fmt.Sprintf(format, arguments...))
}
