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

// refuse returns an error if the cluster already has an agent: either of them could become the leader,
// with its own config.
func refuse(ctx context.Context, client kubernetes.Interface, host, force string) error {
	if forced, _ := strconv.ParseBool(force); forced {
		return nil
	}
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil {
		return fmt.Errorf("looking for an agent in the cluster %s: %w; to skip this check: FORCE=true", host, err)
	}
	for _, deployment := range deployments.Items {
		if replicas := deployment.Spec.Replicas; replicas != nil && *replicas == 0 {
			continue
		}
		return fmt.Errorf(`an agent runs in the cluster %[1]s already: deployment %[3]s in namespace %[2]s.
If this agent became the leader, it would clean up nodes with its own config, or skip their cleanup in a dry run. Nothing was started. Do one of these:
  make run-local on a local cluster:    eval "$(go run ./hack/cluster up)" && make run-local
  have this agent clean that cluster:   kubectl -n %[2]s scale deployment %[3]s --replicas=0 && make run-local
  run both agents:                      FORCE=true make run-local`, host, deployment.Namespace, deployment.Name)
	}
	return nil
}

// warnAboutFinalizers prints how many Nodes keep the finalizer after this agent stops.
func warnAboutFinalizers(ctx context.Context, client kubernetes.Interface, out io.Writer) error {
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
		fmt.Fprintf(out, "\nNodes that keep the finalizer %s: %d. The deletion of these nodes hangs until an agent runs again.\n"+
			"Start it again (make run-local), or remove the finalizer from every node: bin/kubectl-nodecleanup uninstall\n", api.Finalizer, held)
	}
	return nil
}
