package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// refuse returns an error when an agent is to run in the cluster: this one would
// lead in its place now and then, with another config, or let nodes go in a dry run.
func refuse(ctx context.Context, client kubernetes.Interface, host, force string) error {
	if forced, _ := strconv.ParseBool(force); forced {
		return nil
	}
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil {
		return fmt.Errorf("looking for an agent in the cluster %s: %w; FORCE=true does not look", host, err)
	}
	for _, deployment := range deployments.Items {
		if replicas := deployment.Spec.Replicas; replicas != nil && *replicas == 0 {
			continue
		}
		return fmt.Errorf(`an agent runs in the cluster %[1]s already: deployment %[3]s in namespace %[2]s.
Whenever this one led in its place, nodes would be cleaned by the config of this one, and in a dry run not at all. Nothing was started. Do one of these:
  make run-local on a local cluster:    eval "$(go run ./hack/cluster up)" && make run-local
  have this agent clean that cluster:   kubectl -n %[2]s scale deployment %[3]s --replicas=0 && make run-local
  run it all the same:                  FORCE=true make run-local`, host, deployment.Namespace, deployment.Name)
	}
	return nil
}

// farewell tells of the nodes that nobody releases after this agent stops.
func farewell(ctx context.Context, client kubernetes.Interface, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	held := 0
	err := cluster.EachNode(ctx, client.CoreV1(), func(node *corev1.Node) error {
		if api.HasFinalizer(node) {
			held++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting the nodes that keep the finalizer: %w", err)
	}
	if held > 0 {
		fmt.Fprintf(out, "\nNodes that keep the finalizer %s: %d. One that is deleted stays until an agent runs again.\n"+
			"Start it again (make run-local), or take the finalizer off every node: bin/kubectl-nodecleanup uninstall\n", api.Finalizer, held)
	}
	return nil
}
