// Package cli_test runs the commands as an operator does, against a real API server with a real
// controller manager. All tests share one cluster; each test leaves it without an install and
// without nodes.
package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests; only TestMain writes it.
var shared *cluster.Cluster

// The scheduler and kwok make the agent's Deployment available, with pods that
// run nothing; the controller manager removes namespaces.
func TestMain(m *testing.M) {
	options := cluster.Options{Name: "cli", WithControllerManager: true, WithScheduler: true, WithKwok: true}
	os.Exit(cluster.Main(m, options, func(c *cluster.Cluster) { shared = c }))
}

// ran is the result of a command.
type ran struct {
	out, errOut string
	code        int
}

// run runs a command with a kubeconfig.
func run(t *testing.T, kubeconfig string, arguments ...string) ran {
	t.Helper()
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
	err := cli.Execute(t.Context(), streams, append(arguments, "--kubeconfig", kubeconfig))
	result := ran{out: out.String(), errOut: errOut.String(), code: exit.Code(t.Context(), err)}
	t.Logf("kubectl nodecleanup %s [exit %d]\n%s%s", strings.Join(arguments, " "), result.code, result.out, result.errOut)
	return result
}

// must runs a command as an administrator and wants exit code 0.
func must(t *testing.T, arguments ...string) ran {
	t.Helper()
	return want(t, exit.OK, run(t, shared.Kubeconfig(), arguments...))
}

func want(t *testing.T, code int, result ran) ran {
	t.Helper()
	if result.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", result.code, code, result.out, result.errOut)
	}
	return result
}

// wantText checks that the output contains every text.
func wantText(t *testing.T, where string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(where, text) {
			t.Errorf("missing %q in:\n%s", text, where)
		}
	}
}

func kubeconfigFor(t *testing.T, user string, groups ...string) string {
	t.Helper()
	path, err := shared.KubeconfigFor(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// admin returns a client, and has the cluster made empty at the end of the test.
func admin(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(shared.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sweep(t, client) })
	return client
}

// sweep removes the install and every node.
func sweep(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	// Nodes that a test made invalid go first: uninstall cannot release them.
	if err := client.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Errorf("sweeping: deleting nodes: %v", err)
	}
	if err := cli.Execute(ctx, streams, []string{"uninstall", "--yes", "--force", "--kubeconfig", shared.Kubeconfig()}); err != nil {
		t.Errorf("sweeping: %v\n%s", err, out.String())
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Errorf("sweeping: %v", err)
		return
	}
	for _, node := range nodes.Items {
		if err := releaseAll(ctx, client, &node); err != nil {
			t.Errorf("sweeping: %v", err)
		}
	}
}

// releaseAll takes every finalizer off a node that is being deleted.
func releaseAll(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	patch := fmt.Appendf(nil, `{"metadata": {"uid": %q, "finalizers": null}}`, node.UID)
	_, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// makeNode creates a node that kwok ignores, so that only the test and the command write to it.
func makeNode(t *testing.T, client kubernetes.Interface, name string, change func(*corev1.Node)) *corev1.Node {
	t.Helper()
	node := cluster.MakeNode(name, nil)
	node.Annotations = nil
	node.Spec.Unschedulable = true // no agent Pod is scheduled to a node without a kubelet
	if change != nil {
		change(node)
	}
	created, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func finalizers(names ...string) func(*corev1.Node) {
	return func(node *corev1.Node) { node.Finalizers = names }
}

func getNode(t *testing.T, client kubernetes.Interface, name string) *corev1.Node {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func deleteNode(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if err := client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
