package guard_test

import (
	"context"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestExemptUsersAndGroupsAreNeverRefused(t *testing.T) {
	const autoscaler = "system:serviceaccount:kube-system:cluster-autoscaler"
	f := setUp(t, "guard: {controlPlane: refuse, exempt: {users: ["+autoscaler+"], groups: [cloud]}}\n")
	f.bind("system:serviceaccounts", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"delete"}})
	one, two := f.node("one", annotated(api.AnnotationProtect, "true")), f.node("two", labelled("node-role.kubernetes.io/control-plane", ""))
	f.refused(f.delete(f.as("system:serviceaccount:kube-system:other", "system:serviceaccounts"), one), one)
	f.refused(f.delete(f.as("ed", "editors"), two), two)
	f.allowed(f.delete(f.as(autoscaler, "system:serviceaccounts"), one), one)
	f.allowed(f.delete(f.as("ed", "editors", "cloud"), two), two)
	if run := f.record(one, api.Succeeded); run.RequestedBy != autoscaler {
		t.Errorf("the record says that %q deleted the node", run.RequestedBy)
	}
}

func TestRecordNamesTheUserOfTheDeletion(t *testing.T) {
	f := setUp(t, "")
	alone, collected := f.node("alone"), f.node("collected", labelled("pool", "old"))
	f.allowed(f.delete(f.as("ed", "editors"), alone), alone)
	f.allowed(f.as("rita", "editors").CoreV1().Nodes().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "pool=old"}), collected)
	one, other := f.record(alone, api.Succeeded), f.record(collected, api.Succeeded)
	if one.RequestedBy != "ed" || other.RequestedBy != "rita" || one.RequestedByVerified || other.RequestedByVerified {
		t.Errorf("the records say %q and %q", one.Requester(), other.Requester())
	}
	f.awaitEvent(alone, "CleanupCompleted", "Deleted by ed (unverified). ")
	// A second deletion changes nothing, nor does a forged review of one.
	f.allowed(f.delete(f.as("rita", "editors"), alone), alone)
	f.ask(forgery(alone, nil))
	deletion, found, err := guard.NewDeletions(f.admin, f.namespace, clock.RealClock{}).Of(t.Context(), f.read(alone))
	if err != nil || !found || deletion.User != "ed" || deletion.Node != "alone" {
		t.Errorf("after another deletion the ledger says %+v, %v", deletion, err)
	}
}

// The guard writes nothing to the Node, so its resource version stays.
func TestDeletionWithAResourceVersionSucceeds(t *testing.T) {
	f := setUp(t, "")
	node := f.node("worker")
	version := f.read(node).ResourceVersion
	f.allowed(f.admin.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}), node)
}

func TestBreakGlass(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 1}\n")
	deleted, node := f.node("gone"), f.node("worker", annotated(api.AnnotationProtect, "true"))
	f.allowed(f.delete(f.admin, deleted), deleted)
	editor, operator := f.as("ed", "editors"), f.as("op", "operators")
	for _, key := range []string{api.AnnotationBreakGlass, api.AnnotationBreakGlassUntil} {
		err := f.annotate(editor, node, key, time.Now().Add(time.Hour).Format(time.RFC3339))
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "node worker is left as it is: only nodecleanup-agent, or a user who is allowed the verb \"bypass\" on nodes (ClusterRole nodecleanup-operator), may change the annotations of the delete guard") {
			t.Errorf("an editor who sets %s is answered %v", key, err)
		}
	}
	set := func(key, value string) {
		t.Helper()
		if err := f.annotate(operator, node, key, value); err != nil {
			t.Fatal(err)
		}
	}
	set(api.AnnotationBreakGlass, "the rack burns")
	f.refused(f.delete(editor, node), node, "Its break-glass annotations are not valid: annotation nodecleanup.io/break-glass-until is missing")
	set(api.AnnotationBreakGlassUntil, "2026-01-31T04:00:00Z")
	f.refused(f.delete(editor, node), node, "Its break-glass annotations are not valid: it expired at 2026-01-31T04:00:00Z")
	set(api.AnnotationBreakGlassUntil, time.Now().Add(time.Hour).Format(time.RFC3339))
	f.allowed(f.delete(editor, node), node)
	f.awaitEvent(node, "BreakGlass", "the deletion of the node by ed (unverified)", "the rack burns")
	if run := f.record(node, api.Succeeded); run.RequestedBy != "ed" || run.BreakGlassReason != "the rack burns" {
		t.Errorf("the record is %+v", run)
	}
	if run := f.record(deleted, api.Succeeded); run.BreakGlassReason != "" {
		t.Errorf("the record of another node is %+v", run)
	}
}

func TestUserWithoutBypassCannotForgeTheUserOfADeletion(t *testing.T) {
	f := setUp(t, "")
	node := f.node("worker")
	for _, key := range []string{api.AnnotationDeletionRequestedBy, api.AnnotationDeletionRequestedAt} {
		if err := f.annotate(f.as("ed", "editors"), node, key, "jane"); !apierrors.IsForbidden(err) {
			t.Errorf("setting %s is answered %v", key, err)
		}
	}
}

// A kubelet is not to decide whether its own Node is deleted.
func TestKubeletCannotChangeProtection(t *testing.T) {
	f := setUp(t, "")
	if err := f.annotate(f.as("system:node:worker", "system:nodes"), f.node("worker"), api.AnnotationProtect, "true"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may change nodecleanup.io/protect") {
		t.Errorf("one that protects its node is answered %v", err)
	}
	precious := f.node("precious", annotated(api.AnnotationProtect, "true"))
	own := f.as("system:node:precious", "system:nodes")
	if err := f.annotate(own, precious, api.AnnotationProtect, ""); !apierrors.IsForbidden(err) {
		t.Errorf("one that takes the protection off is answered %v", err)
	}
	if err := f.annotate(own, precious, "example.com/own", "1"); err != nil {
		t.Errorf("one that leaves it alone is answered %v", err)
	}
	registered := cluster.MakeNode("new", nil)
	registered.Annotations[api.AnnotationProtect] = "true"
	if _, err := f.as("system:node:new", "system:nodes").CoreV1().Nodes().Create(t.Context(), registered, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) {
		t.Errorf("one that registers protected is answered %v", err)
	}
}

func TestDryRunIsAnsweredTruthfullyAndWritesNothing(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 1, criticalPods: [{namespaces: [default]}], lastSchedulable: refuse}\n")
	precious, one, two, other := f.node("precious", annotated(api.AnnotationProtect, "true")), f.node("one"), f.node("two"), f.node("other")
	before := f.read(one).ResourceVersion
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.delete(f.admin, precious, metav1.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "node precious would not be deleted: it is protected") {
		t.Errorf("a dry run of what is refused is answered %v", err)
	}
	for _, node := range []string{"one", "two", "one"} { // One that counted would have the next refused.
		if err := f.admin.CoreV1().Nodes().Delete(t.Context(), node, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("a dry run of what is allowed is answered %v", err)
		}
	}
	if writes := f.writes(mark); len(writes) > 0 {
		t.Errorf("dry runs had the agent write %q", writes)
	}
	if f.read(one).ResourceVersion != before {
		t.Error("a dry run changed its node")
	}
	// So that this could fail: the real thing writes.
	f.allowed(f.delete(f.admin, one), one)
	if writes := strings.Join(f.writes(mark), "\n"); !strings.Contains(writes, "configmaps "+api.GuardName) {
		t.Errorf("a deletion had the agent write %q", writes)
	}
	if err := f.delete(f.admin, two, metav1.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("a dry run of one too many is answered %v", err)
	}
	f.refused(f.delete(f.admin, other), other)
}

// writes returns the agent's writes since the mark, except its Lease and its status.
func (f *fixture) writes(mark cluster.AuditMark) []string {
	f.Helper()
	events, err := shared.AuditSince(mark)
	if err != nil {
		f.Fatal(err)
	}
	var writes []string
	for _, event := range events {
		reads := event.Verb == "get" || event.Verb == "list" || event.Verb == "watch"
		if event.User == f.agentName() && !reads && event.Resource != "leases" && event.Name != api.StatusName {
			writes = append(writes, event.Verb+" "+event.Resource+" "+event.Name)
		}
	}
	return writes
}

func TestWithTheAgentDownNodesCanBeDeleted(t *testing.T) {
	f := setUp(t, "")
	precious := f.node("precious", annotated(api.AnnotationProtect, "true"))
	f.refused(f.delete(f.admin, precious), precious)
	f.stop()
	f.allowed(f.delete(f.admin, precious), precious)
}

func TestRepeatedInstallKeepsTheCA(t *testing.T) {
	f := setUp(t, "")
	configurations := f.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	results, err := f.apply(f.installed)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Object.GetKind() == "ValidatingWebhookConfiguration" && result.Action != "unchanged" {
			t.Errorf("it is %s", result.Action)
		}
	}
	// If the CA is lost, the agent publishes it again.
	if _, err := configurations.Patch(t.Context(), api.WebhookName, types.JSONPatchType, []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the CA is there again", func(ctx context.Context) (bool, error) {
		now, err := configurations.Get(ctx, api.WebhookName, metav1.GetOptions{})
		return err == nil && len(now.Webhooks[0].ClientConfig.CABundle) > 0, err
	})
}
