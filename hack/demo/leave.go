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

// made is what the demo has put on a cluster.
type made struct {
	// install: the command was run, whether it came to its end or not.
	install   bool
	namespace *corev1.Namespace
	nodes     []*corev1.Node
}

// leave takes away from a cluster that is the user's own what the demo has put
// there, and nothing else. What fails does not keep it from the rest; the error
// says by which commands that is taken away which is left.
func (d *demo) leave(ctx context.Context) error {
	say("\nTaking everything away again")
	var errs []error
	var commands []string
	try := func(err error, command string) {
		if err != nil {
			errs, commands = append(errs, err), append(commands, "  "+command)
		}
	}
	// The agent first, or it would add the finalizer again; kwok last, for the
	// pods must end.
	for _, process := range d.processes {
		if process.Name() == "nodecleanup-agent" {
			try(process.Stop(ctx), fmt.Sprintf("kill -9 %d", process.PID()))
		}
	}
	if d.made.namespace != nil {
		try(d.removeWorkload(ctx), d.kubectl("delete namespace "+namespace))
	}
	if d.made.install {
		try(d.nodecleanup(ctx, "uninstall", "--yes", "--force"), d.reaching(filepath.Join(d.bin, "kubectl-nodecleanup"))+" uninstall --yes --force")
	}
	for _, node := range d.made.nodes {
		try(d.removeNode(ctx, node), d.kubectl("delete node "+node.Name))
	}
	// It holds credentials, and the commands below do without.
	if err := os.Remove(d.kubeconfig); err != nil {
		errs = append(errs, fmt.Errorf("removing the demo's kubeconfig: %w", err))
	}
	err := errors.Join(errs...)
	if len(commands) > 0 {
		err = fmt.Errorf("taking everything away again: %w\nRemove the rest with these commands, in this order:\n%s", err, strings.Join(commands, "\n"))
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

// removeNode deletes the very node that the demo made.
func (d *demo) removeNode(ctx context.Context, node *corev1.Node) error {
	err := d.client.CoreV1().Nodes().Delete(ctx, node.Name, *metav1.NewPreconditionDeleteOptions(string(node.UID)))
	if err != nil && !notThere(err) {
		return fmt.Errorf("deleting node %s: %w", node.Name, err)
	}
	return nil
}

// notThere: there is none of that name, or it is another by now.
func notThere(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// kubectl and reaching write a command as the user types it, for their cluster.
func (d *demo) kubectl(command string) string { return d.reaching("kubectl") + " " + command }

func (d *demo) reaching(program string) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return fmt.Sprintf("KUBECONFIG=%s %s --context %s", quote(d.list), program, quote(d.context))
}
