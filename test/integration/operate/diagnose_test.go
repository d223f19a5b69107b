package operate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestDiagnoseFindsTheCauseOfAHeldNode(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	stop := f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.run("diagnose", "worker").exits(exit.OK).says("is not being deleted", "it is protected")

	f.delete("worker")
	f.awaitState("worker", api.Running)
	f.eventuallyDiagnoses("worker", "budget-blocking")
	f.run("diagnose", "worker").exits(exit.Unhealthy).says(
		"deletion requested", "default/cart-0 (budget cart allows 0 disruptions: needs 1 healthy, has 1)",
		"kubectl -n default edit pdb cart", "finalizer nodecleanup.io/finalizer (nodecleanup)")
	f.wantsNoWrites("diagnose", "worker")

	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drian}]\n")
	f.eventuallyDiagnoses("worker", "config-refused")

	stop()
	f.eventuallyDiagnoses("worker", "no-leader")

	// With few rights, it names the skipped checks and continues.
	reader := f.userWith("reader", rule("", "nodes", "get"))
	f.runAs(reader, "diagnose", "worker", "-n", f.namespace).exits(exit.OK).says("agent NOT checked", "pods NOT checked", "deletion requested")
	f.runAs(reader, "diagnose", "worker", "-n", f.namespace, "-o", "short").exits(exit.OK).says("worker: no cause found; not checked: agent, run record, events, config, pods, budgets")
	f.runAs(f.userWith("nobody"), "diagnose", "worker", "-n", f.namespace).exits(exit.Failure).says("reading node worker", "ask a cluster administrator")
}

// eventuallyDiagnoses waits until the first cause is the one.
func (f *fixture) eventuallyDiagnoses(node, cause string) {
	f.Helper()
	said := ""
	f.eventually("the first cause is "+cause, func(ctx context.Context) (bool, error) {
		var view printer.Diagnosis
		f.quietly("diagnose", node, "-o", "json").into(&view)
		if len(view.Causes) > 0 && view.Causes[0].ID != said {
			said = view.Causes[0].ID
			f.Logf("cause: %+v", view.Causes[0])
		}
		return said == cause, nil
	})
}

func TestDiagnoseANodeWithRejectedUpdates(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	node := f.node("twice", nil)
	// The API server takes this on create only.
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
	node.ResourceVersion, node.UID, node.Name, node.Annotations = "", "", "invalid", nil // kwok would repair it
	if _, err := f.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.delete("invalid")
	f.eventuallyDiagnoses("invalid", "node-invalid")
	// Fixed, so that it can be deleted.
	invalid := f.read("invalid")
	invalid.Status.Addresses = nil
	if _, err := f.client.CoreV1().Nodes().UpdateStatus(t.Context(), invalid, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestDiagnoseOfADeletedNode(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	f.start()
	f.node("worker", nil)
	f.delete("worker")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
	f.run("diagnose", "worker").exits(exit.OK).says("Node worker no longer exists.", "Succeeded")
	f.run("diagnose", "nobody").exits(exit.Failure).says("not found; it may already have been deleted")
}

// Another replica would not start either.
func TestFailedReplacementPodsAreNamed(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	pending := cluster.MakePod("default", "cart-1", "")
	app("cart")(pending)
	pending.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
	pods := f.client.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), pending, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pods.Delete(contextOf(t), "cart-1", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	const named = "1 pod that the budget selects is Pending: cart-1 (SchedulingGated: "
	f.eventually("plan names it", func(context.Context) (bool, error) {
		return strings.Contains(f.quietly("plan", "worker").out, named), nil
	})
	f.run("plan", "worker").exits(exit.Blocked).says("Note: no other node is schedulable now")
	f.delete("worker")
	f.awaitState("worker", api.Running)
	f.eventuallyDiagnoses("worker", "budget-blocking")
	f.run("diagnose", "worker").exits(exit.Unhealthy).says(named, "kubectl -n default describe pod cart-1")
}

func TestDiagnoseAMissingSecretAndMissingRights(t *testing.T) {
	f := setUp(t, drainAndTell)
	f.start()
	f.node("worker", nil)
	f.delete("worker")
	f.awaitState("worker", api.Blocked)
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("secret "+f.namespace+"/inventory of step tell is missing", "create secret generic")
	roles := f.client.RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = role.Rules[:1]
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventuallyDiagnoses("worker", "rights-missing")
	at := fmt.Sprintf("https://127.0.0.1:%d", f.port)
	// The roles are another client's now, and the agent stays outside the cluster.
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("patch nodes/status", "kubectl nodecleanup install --agent-url "+at+" --force-conflicts")
	f.run("install", "--agent-url", at).exits(exit.Failure).says("--force-conflicts")
	f.run("install", "--agent-url", at, "--force-conflicts").exits(exit.OK)
	f.eventually("the agent has its rights again", func(context.Context) (bool, error) {
		return !strings.Contains(f.quietly("diagnose", "worker").out, "the agent lacks rights"), nil
	})
	if _, err := f.client.AppsV1().Deployments(f.namespace).Get(t.Context(), api.Agent, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Deployment stands in the place of the agent: %v", err)
	}
}
