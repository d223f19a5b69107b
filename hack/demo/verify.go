package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// verify checks that the completed cleanup is the reason for the deletion.
func (d *demo) verify(ctx context.Context, node *corev1.Node) error {
	var faults []error
	check := func(ok bool, what string) {
		mark := "yes"
		if !ok {
			mark = "NO "
			faults = append(faults, fmt.Errorf("verifying the demo: not true: %s", what))
		}
		say("  %s  %s", mark, what)
	}
	current, err := d.client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
	check(apierrors.IsNotFound(err) || err == nil && current.UID != node.UID, "the node is deleted")

	run, err := d.run(ctx, node)
	if err != nil {
		return err
	}
	check(run.State == api.Succeeded && !run.DryRun, fmt.Sprintf("its run record %s still exists, with state %s", api.RunName(node.Name, node.UID), run.State))
	done := 0
	for _, step := range run.Steps {
		if step.State == api.StepSucceeded {
			done++
		}
	}
	check(len(run.Steps) == 3 && done == 3, fmt.Sprintf("%d of 3 steps are done", done))

	if d.local != nil {
		last, err := d.lastWriter(node.Name)
		if err != nil {
			return err
		}
		check(last == agentUser, "the last change, which removed the finalizer, was made by "+last)
	}

	requests, err := requestsOf(d.inventory, string(node.UID)+"/inventory")
	if err != nil {
		return err
	}
	check(requests == 1, fmt.Sprintf("the inventory was notified once (requests: %d)", requests))

	pods, err := d.podsOn(ctx, node.Name)
	if err != nil {
		return err
	}
	check(len(pods) == 0, "it has no pods")
	err = d.await(ctx, "the evicted pods run elsewhere", d.workloadReady)
	check(err == nil, fmt.Sprintf("all %d pods run on the other nodes", replicas))
	return errors.Join(faults...)
}

// run reads the run record of a node.
func (d *demo) run(ctx context.Context, node *corev1.Node) (*api.Run, error) {
	configMap, err := d.client.CoreV1().ConfigMaps(api.Namespace).Get(ctx, api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the run record: %w", err)
	}
	return api.DecodeRun(configMap)
}

// lastWriter returns the user of the last write to the node, from the API server's audit log.
func (d *demo) lastWriter(node string) (string, error) {
	events, err := d.local.AuditLog()
	if err != nil {
		return "", err
	}
	last := "no user"
	for _, event := range events {
		if event.Resource == "nodes" && event.Name == node && event.Code == http.StatusOK && (event.Verb == "patch" || event.Verb == "update") {
			last = event.User
		}
	}
	return last, nil
}

// sayNextSteps prints commands to try on the local cluster, which keeps running.
func (d *demo) sayNextSteps(metrics string) {
	if d.local == nil {
		return
	}
	say(`
The cluster stays up. Try things by hand:

  export KUBECONFIG=%[1]s
  export PATH=%[2]s:%[3]s:$PATH
  kubectl nodecleanup status        # the first call compiles a kubectl
  kubectl delete node %[4]s --wait=false
  kubectl nodecleanup diagnose %[4]s   # after some seconds also: kubectl describe node %[4]s
  curl -s http://%[5]s/metrics | grep node_cleanup

The demo protects only nodes with the label %[6]s=true:
  kubectl label node NODE %[6]s=true

make demo-down ends it.`, d.kubeconfig, d.bin, filepath.Dir(d.local.Kubectl()), nodeName(2), metrics, mark)
}
