//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// Test the webhook without the policy first; the policy would mask a webhook that is not called. The URL of
// the inventory is in a Secret that the chart creates.
const helmValues = `
image: {repository: %s, tag: %s}
cli: {image: {repository: %s, tag: %[2]s}}
admission: %[4]s
networkPolicy: {enabled: true}
secrets: {inventory: {url: %[5]q}}
config:
  nodeSelector: {matchExpressions: [{key: %[6]s, operator: DoesNotExist}]}
  retry: {initialDelay: 1s, maxDelay: 5s}
  steps:
  - {name: drain, plugin: drain, critical: true, timeout: 5m}
  - {name: volumes, plugin: volumes, critical: true, dependsOn: [drain]}
  - {name: inventory, plugin: http, critical: true, dependsOn: [volumes], options: {url: {secretKeyRef: {name: inventory, key: url}}}}
`

func TestHelm(t *testing.T) {
	inventory := newInventory(t)
	values := func(t *testing.T, version, admission, unselected string) string {
		return write(t, "values.yaml", fmt.Sprintf(helmValues, repository, version, cliRepository, admission, inventory.URL, unselected))
	}
	of := []string{"nodecleanup", "--namespace", api.Namespace, "--timeout", "3m"}
	chart := filepath.Join(root, "manifests", "chart")
	upgrade := func(t *testing.T, unselected string) {
		helm(t, append([]string{"upgrade", "--wait", "--values", values(t, newVersion, "auto", unselected)}, append(of, chart)...)...)
	}
	prove(t, "helm",
		part{"helm lint finds nothing wrong", func(t *testing.T) {
			helm(t, "lint", "--strict", "--values", values(t, oldVersion, "webhook", "unmanaged"), chart)
		}},
		part{"helm template prints what install --dry-run=client prints", templateIsInstall},
		part{"helm install: agents are ready under the restricted level", func(t *testing.T) {
			restrictedNamespace(t)
			helm(t, append([]string{"install", "--wait", "--values", values(t, oldVersion, "webhook", "unmanaged")},
				append(of, filepath.Join(previous, "manifests", "chart"))...)...)
			wantAgents(t, oldVersion)
		}},
		part{"admission reaches the agent through its Service", protectsAtOnce("helm-1")},
		part{"check and status find nothing wrong", checkFindsNothing},
		part{"helm test: the check succeeds in the cluster", func(t *testing.T) {
			helm(t, append([]string{"test", "--logs"}, of...)...)
		}},
		part{"a deleted node is removed when its pods are deleted", drains("helm-1", "3/3")},
		part{"a step has read the Secret that the chart made", func(t *testing.T) {
			if !inventory.knows("helm-1") {
				t.Errorf("the inventory was notified of %v, want helm-1 once", inventory.received)
			}
		}},
		part{"another agent takes over when the leader is killed", leaderKilled("helm-leader")},
		part{"helm upgrade under load loses no node", func(t *testing.T) {
			// With Fail, a request that is lost is an error.
			failing := write(t, "failing.yaml", "{failurePolicy: Fail, webhookTimeoutSeconds: 20}")
			to := func(version, chart string) {
				helm(t, append([]string{"upgrade", "--wait", "--values", values(t, version, "webhook", "unmanaged"), "--values", failing}, append(of, chart)...)...)
			}
			to(oldVersion, filepath.Join(previous, "manifests", "chart"))
			underLoad(t, func() { to(newVersion, chart) })
			wantAgents(t, newVersion)
		}},
		part{"helm upgrade: the policy beside the webhook", func(t *testing.T) {
			upgrade(t, "unmanaged")
			wantAgents(t, newVersion)
			awaitLimit(t, "unmanaged")
		}},
		part{"helm upgrade: another config is active, and nothing that the agent wrote is lost", func(t *testing.T) {
			upgrade(t, "left-alone")
			awaitLimit(t, "left-alone")
			wantFinalizer(t, "left-alone", false)
			wantFinalizer(t, "unmanaged", true)
			// Upgraded again without a change: the limit of the policy must be present all the
			// time.
			upgrade(t, "left-alone")
			wantLimit(t, "left-alone")
			checkFindsNothing(t)
		}},
		part{"helm uninstall refuses while a node is being cleaned up", func(t *testing.T) {
			unblock := deleteBlocked(t, "helm-2")
			ran := program(t, "", helmProgram, append([]string{"uninstall", "--wait"}, of...)...)
			if ran.err == nil || !strings.Contains(ran.said, "nodes are being cleaned up") {
				t.Fatalf("with node helm-2 in its cleanup: %v, it says\n%s", ran.err, ran.said)
			}
			wantAgents(t, newVersion)
			unblock()
			eventually(t, "node helm-2 is deleted", isDeleted("helm-2"))
			if !inventory.knows("helm-2") {
				t.Errorf("the inventory was notified of %v, want helm-2 once", inventory.received)
			}
		}},
		part{"helm uninstall: its Job runs in the cluster, and nothing is left", func(t *testing.T) {
			wantFinalizer(t, "kept", true)
			if _, err := makeNode(t.Context(), "helm-3", metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			helm(t, append([]string{"uninstall", "--wait"}, of...)...)
			eventually(t, "an Event says that the Job has completed", uninstallCompleted)
			wantNothingLeft(t)
			if pods := agents(t); len(pods) > 0 {
				t.Errorf("%d agents still exist", len(pods))
			}
			// Helm does not delete the namespace, so the test deletes it.
			if err := client.CoreV1().Namespaces().Delete(t.Context(), api.Namespace, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			awaitNoNamespace(t)
		}},
	)
}

// restrictedNamespace creates the agent's namespace with the Pod Security level restricted.
func restrictedNamespace(t *testing.T) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: api.Namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// limit returns the label that the agent has added to the policy to exclude Nodes.
func limit(ctx context.Context) (string, error) {
	binding, err := client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil || binding.Spec.MatchResources == nil || len(binding.Spec.MatchResources.ObjectSelector.MatchExpressions) != 1 {
		return "", err
	}
	return binding.Spec.MatchResources.ObjectSelector.MatchExpressions[0].Key, nil
}

func awaitLimit(t *testing.T, label string) {
	t.Helper()
	eventually(t, "the policy leaves nodes with the label "+label+" alone", func(ctx context.Context) (bool, error) {
		got, err := limit(ctx)
		return got == label, err
	})
}

func wantLimit(t *testing.T, label string) {
	t.Helper()
	if got, err := limit(t.Context()); err != nil || got != label {
		t.Errorf("the policy leaves nodes with the label %q alone, want %q: %v", got, label, err)
	}
}

// wantFinalizer creates a Node with a label, as a dry run.
func wantFinalizer(t *testing.T, label string, want bool) {
	t.Helper()
	made := cluster.MakeNode("labelled", map[string]string{label: ""})
	eventually(t, fmt.Sprintf("a node with the label %s has the finalizer: %t", label, want), func(ctx context.Context) (bool, error) {
		got, err := client.CoreV1().Nodes().Create(ctx, made, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(got) == want, err
	})
}

func uninstallCompleted(ctx context.Context) (bool, error) {
	events, err := client.CoreV1().Events(api.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=Job,involvedObject.name=nodecleanup-uninstall,reason=Completed",
	})
	return err == nil && len(events.Items) > 0, err
}
