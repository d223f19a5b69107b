package agent_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// unreadable creates an undecodable run record of a Node.
func (f *fixture) unreadable(node *corev1.Node) {
	f.Helper()
	configMap, err := api.EncodeRun(f.namespace, &api.Run{Node: node.Name, NodeUID: node.UID})
	if err != nil {
		f.Fatal(err)
	}
	configMap.Data[api.RunKey] = "{"
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(f.Context(), configMap, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

func TestUnrecordedBypassIsNotAnUnprotectedDeletion(t *testing.T) {
	f := setUp(t, logOnly)
	options, log := f.logged()
	f.start(options)
	node := f.protected("worker", "example.com/other")
	f.refuseRecords()
	f.delete(node)
	f.awaitState(node, api.Blocked)
	f.annotate(node, map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassBy: "admin", api.AnnotationBypassReason: "gone to the scrapyard"})
	f.eventually("our finalizer is removed", func(context.Context) (bool, error) { return !api.HasFinalizer(f.read(node)), nil })
	f.eventually("the agent has looked at the node again", func(context.Context) (bool, error) {
		return strings.Contains(log.String(), "other finalizers remain") || strings.Contains(log.String(), "node was deleted before"), nil
	})
	if counted := f.metric(options.MetricsListen, "node_cleanup_unprotected_deletions_total "); counted != "node_cleanup_unprotected_deletions_total 0" || f.events(node, "NodeUnprotected") != 0 {
		t.Errorf("the metrics say %q, the log\n%s", counted, log.String())
	}
}

func TestUnreadableRecordOfAnUnprotectedNodeIsReportedOnce(t *testing.T) {
	f := setUp(t, logOnly)
	node := f.create("worker", "example.com/other")
	f.delete(node)
	f.unreadable(node)
	options, log := f.logged()
	f.start(options)
	f.awaitLog(log, "it is not known whether its cleanup was completed")
	f.annotate(node, map[string]string{"nodecleanup.io/look": "again"})
	other := f.protected("other")
	f.delete(other)
	f.awaitDeleted(other)
	if text := log.String(); strings.Count(text, "it is not known whether") != 1 || strings.Contains(text, "reconciling node failed") {
		t.Errorf("the log says\n%s", text)
	}
}

// It holds its node like a failed step, until an operator acts.
func TestUndecodableRecordCountsAsBlocked(t *testing.T) {
	f := setUp(t, logOnly)
	node := f.protected("worker")
	f.delete(node)
	f.unreadable(node)
	options, _ := f.logged()
	f.start(options)
	f.awaitState(node, api.Blocked)
	const blocked, pending = `node_cleanup_runs_unfinished{state="Blocked"} `, `node_cleanup_runs_unfinished{state="Pending"} `
	if says := f.metric(options.MetricsListen, blocked); says != blocked+"1" || f.metric(options.MetricsListen, pending) != pending+"0" {
		t.Errorf("the metrics say %q, and the age %q", says, f.metric(options.MetricsListen, "node_cleanup_oldest"))
	}
	if f.metric(options.MetricsListen, "node_cleanup_oldest_unfinished_run_timestamp_seconds ") == "" {
		t.Error("the metrics do not tell since when")
	}
	if err := f.client.CoreV1().ConfigMaps(f.namespace).Delete(t.Context(), api.RunName(node.Name, node.UID), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.annotate(node, map[string]string{"nodecleanup.io/look": "again"})
	f.awaitDeleted(node)
}
