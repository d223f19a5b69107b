package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// made lists what the demo has created in a cluster.
type made struct {
	// install: the install command was started.
	install   bool
	namespace *corev1.Namespace
	nodes     []*corev1.Node
}

// removeFromCluster removes the demo's objects from the user's cluster. It continues after an error; the
// returned error lists the commands that remove the rest.
func (d *demo) removeFromCluster(ctx context.Context) error {
	say("\nRemoving everything that the demo created")
	var errs []error
	var commands []string
	try := func(err error, command string) {
		if err != nil {
			errs, commands = append(errs, err), append(commands, "  "+command)
		}
	}
	// Stop the agent first, because it would add the finalizer again. kwok still runs: it ends the pods.
	for _, process := range d.processes {
		if process.Name() == "nodecleanup-agent" {
			try(process.Stop(ctx), fmt.Sprintf("kill -9 %d", process.PID()))
		}
	}
	if d.made.namespace != nil {
		try(d.removeWorkload(ctx), d.kubectl("delete namespace "+namespace))
	}
	if d.made.install {
		try(d.nodecleanup(ctx, "uninstall", "--yes", "--force"), d.commandOn(filepath.Join(d.bin, "kubectl-nodecleanup"))+" uninstall --yes --force")
	}
	for _, node := range d.made.nodes {
		try(d.removeNode(ctx, node), d.kubectl("delete node "+node.Name))
	}
	// The kubeconfig holds credentials; the commands below do not need it.
	if err := os.Remove(d.kubeconfig); err != nil {
		errs = append(errs, fmt.Errorf("removing the demo's kubeconfig: %w", err))
	}
	err := errors.Join(errs...)
	if len(commands) > 0 {
		err = fmt.Errorf("removing the demo: %w\nRemove the rest with these commands, in this order:\n%s", err, strings.Join(commands, "\n"))
	}
	return err
}

func (d *demo) removeWorkload(ctx context.Context) error {
	err := d.client.CoreV1().Namespaces().Delete(ctx, namespace, *metav1.NewPreconditionDeleteOptions(string(d.made.namespace.UID)))
	if err != nil && !notThere(err) {
		return fmt.Errorf("deleting namespace %s: %w", namespace, err)
	}
	return d.await(ctx, "the demo's pods are deleted", func(ctx context.Context) (bool, error) {
		pods, err := d.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil && len(pods.Items) == 0, err
	})
}

// removeNode deletes a node that the demo created, by its UID.
func (d *demo) removeNode(ctx context.Context, node *corev1.Node) error {
	err := d.client.CoreV1().Nodes().Delete(ctx, node.Name, *metav1.NewPreconditionDeleteOptions(string(node.UID)))
	if err != nil && !notThere(err) {
		return fmt.Errorf("deleting node %s: %w", node.Name, err)
	}
	return nil
}

// notThere reports whether the object does not exist, or was replaced by another of the same name.
func notThere(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// kubectl returns a kubectl command for the user's cluster.
func (d *demo) kubectl(command string) string { return d.commandOn("kubectl") + " " + command }

// commandOn returns the beginning of a command that runs a program on the user's cluster.
func (d *demo) commandOn(program string) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return fmt.Sprintf("KUBECONFIG=%s %s --context %s", quote(d.list), program, quote(d.context))
}
