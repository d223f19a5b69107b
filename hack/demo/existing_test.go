package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// player is who plays the demo on their own cluster.
const player = "player"

func kubeconfigOfPlayer(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	path, err := c.KubeconfigFor(player, "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// written gives what the player has changed on the cluster.
func written(t *testing.T, c *cluster.Cluster) []cluster.AuditEvent {
	t.Helper()
	events, err := c.AuditLog()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(events, func(event cluster.AuditEvent) bool {
		return event.User != player || slices.Contains([]string{"get", "list", "watch"}, event.Verb)
	})
}

func createNode(t *testing.T, client kubernetes.Interface, name string, finalizers ...string) *corev1.Node {
	t.Helper()
	node := cluster.MakeNode(name, nil)
	node.Annotations, node.Finalizers = nil, finalizers
	node, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func TestDemoRefusesAClusterWithAnInstall(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Name: "installed"})
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	objects := dynamic.NewForConfigOrDie(c.RESTConfig())
	protected := createNode(t, client, "protected", api.Finalizer)
	kubeconfig := kubeconfigOfPlayer(t, c)

	// What an uninstall would take off a node is enough.
	said, code := runDemo(t, "up", "KUBECONFIG="+kubeconfig)
	if code != 1 {
		t.Errorf("got exit code %d", code)
	}
	wantText(t, said, "nodecleanup is on that cluster already: 0 objects, namespace nodecleanup-system; nodes with its marks: 1.")

	if _, err := (install.Applier{Objects: objects}).Apply(t.Context(), install.Options{Namespace: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	versions := func() []string {
		t.Helper()
		node, nodeErr := client.CoreV1().Nodes().Get(t.Context(), protected.Name, metav1.GetOptions{})
		deployment, deploymentErr := client.AppsV1().Deployments("elsewhere").Get(t.Context(), api.Agent, metav1.GetOptions{})
		config, configErr := client.CoreV1().ConfigMaps("elsewhere").Get(t.Context(), api.ConfigName, metav1.GetOptions{})
		for _, err := range []error{nodeErr, deploymentErr, configErr} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return []string{node.ResourceVersion, deployment.ResourceVersion, config.ResourceVersion, strings.Join(node.Finalizers, " ")}
	}
	before := versions()
	said, code = runDemo(t, "up", "DEMO_KUBECONFIG="+kubeconfig)
	if code != 1 {
		t.Errorf("got exit code %d", code)
	}
	wantText(t, said, "namespace elsewhere", "Nothing was touched", "env -u DEMO_KUBECONFIG -u KUBECONFIG make demo")
	if strings.Contains(said, "[y/N]") || strings.Contains(said, "uninstall") {
		t.Errorf("it asked, or ran an uninstall:\n%s", said)
	}
	if after := versions(); !slices.Equal(before, after) {
		t.Errorf("node, Deployment and config were %q and are %q", before, after)
	}
	if changes := written(t, c); len(changes) > 0 {
		t.Errorf("the demo changed the cluster: %+v", changes)
	}
}

func TestDemoOnAnExistingCluster(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Name: "own", WithControllerManager: true, WithScheduler: true})
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	createNode(t, client, "bystander")
	temporary := t.TempDir()
	list := filepath.Join(temporary, "missing") + string(filepath.ListSeparator) + kubeconfigOfPlayer(t, c)

	said, code := runDemo(t, "up", "KUBECONFIG="+list, "TMPDIR="+temporary)
	if code != 0 {
		t.Errorf("got exit code %d", code)
	}
	wantVerdict(t, said)
	wantText(t, said, "nodecleanup removed")

	for _, change := range written(t, c) {
		if change.Resource == "nodes" && change.Name == "bystander" || strings.HasPrefix(change.Resource, "mutatingadmissionpolic") {
			t.Errorf("the demo touched what is not its own: %+v", change)
		}
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 || nodes.Items[0].Name != "bystander" {
		t.Errorf("got nodes %v, %v; want the one that was there before", nodes.Items, err)
	}
	if err := refuseInstalled(t.Context(), c.RESTConfig()); err != nil {
		t.Errorf("the install still exists: %v", err)
	}
	for _, name := range []string{namespace, api.Namespace} {
		if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		}); err != nil {
			t.Errorf("namespace %s still exists: %v", name, err)
		}
	}
	if credentials, err := filepath.Glob(filepath.Join(temporary, "*", "kubeconfig")); err != nil || len(credentials) > 0 {
		t.Errorf("credentials still exist: %q, %v", credentials, err)
	}
}

// If one object cannot be removed, the demo still removes the others, and the error names the commands for
// the rest.
func TestRemovalContinuesAfterAnError(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Name: "left", WithControllerManager: true})
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	d := &demo{
		target: &target{
			kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), list: "their:own", context: "of theirs", rest: c.RESTConfig(),
		},
		client: client, bin: bin, timeout: time.Second,
	}
	pinned, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	repin := func() {
		t.Helper()
		if err := os.WriteFile(d.kubeconfig, pinned, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	repin()
	if err := d.nodecleanup(t.Context(), "install", "--agent-url", "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	d.made.install = true
	if d.made.namespace, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ours, replaced := createNode(t, client, "ours", api.Finalizer), createNode(t, client, "replaced")
	d.made.nodes = []*corev1.Node{ours, replaced.DeepCopy()}
	d.made.nodes[1].UID = "of-a-deleted-node"
	held := cluster.MakePod(namespace, "held", "")
	held.Finalizers = []string{"example.com/held"}
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	// The pod is not deleted, and the program to uninstall with does not exist.
	d.bin = t.TempDir()
	err = d.removeFromCluster(t.Context())
	if err == nil {
		t.Fatal("the removal returned no error")
	}
	const reaching = "KUBECONFIG='their:own' "
	wantText(t, err.Error(), "waiting until the demo's pods are deleted", "running kubectl nodecleanup uninstall",
		reaching+"kubectl --context 'of theirs' delete namespace nodecleanup-demo\n",
		reaching+d.bin+"/kubectl-nodecleanup --context 'of theirs' uninstall --yes --force")
	if node, err := client.CoreV1().Nodes().Get(t.Context(), "ours", metav1.GetOptions{}); err == nil && node.DeletionTimestamp == nil {
		t.Error("the nodes were not deleted after the uninstall had failed")
	}

	// The pod is not deleted.
	d.bin = bin
	repin()
	err = d.removeFromCluster(t.Context())
	if err == nil {
		t.Fatal("the removal returned no error")
	}
	wantText(t, err.Error(), "delete namespace nodecleanup-demo")
	if strings.Contains(err.Error(), "uninstall") {
		t.Errorf("the error says to uninstall again: %v", err)
	}
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), api.Agent, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the install still exists: %v", err)
	}
	if _, err := client.CoreV1().Nodes().Get(t.Context(), "ours", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the demo's node still exists: %v", err)
	}
	if node, err := client.CoreV1().Nodes().Get(t.Context(), "replaced", metav1.GetOptions{}); err != nil || node.DeletionTimestamp != nil {
		t.Errorf("a node of the same name that is not the demo's was deleted: %v", err)
	}
	if _, err := os.Stat(d.kubeconfig); !os.IsNotExist(err) {
		t.Errorf("credentials still exist: %v", err)
	}
}
