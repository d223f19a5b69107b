package cli_test

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Every command reports the undecodable record with the cause, the paused cleanup and the next
// step. The next step is never to delete the record.
func TestEveryCommandReportsAnUndecodableRecord(t *testing.T) {
	client := admin(t)
	node, live := makeNode(t, client, "worker", finalizers(api.Finalizer)), makeNode(t, client, "live", finalizers(api.Finalizer))
	installWithAgent(t, client, "v0.0.0-dev")
	store(t, client, node.Name, node.UID, `{"version":`)
	store(t, client, live.Name, live.UID, `{"version":`)
	store(t, client, "gone", "0f0f0f0f-0000-4000-8000-000000000000", `{"version":"nodecleanup.io/v9"}`)
	deleteNode(t, client, "worker")

	record := api.RunName(node.Name, node.UID)
	what := "cannot decode run record " + record + ": unexpected end of JSON input. The cleanup is paused"
	const next = `If a newer version wrote the record, upgrade the agent and the CLI. Otherwise run every step again: kubectl nodecleanup retry worker; or bypass the cleanup: kubectl nodecleanup bypass worker --reason "…"`
	paused := status(t, exit.Unhealthy)
	if len(paused.Cleanups) != 1 || paused.Cleanups[0].State != "Blocked" || !paused.Cleanups[0].Stuck || paused.Cleanups[0].Reason != what+". "+next {
		t.Errorf("status: %+v", paused.Cleanups)
	}
	wantText(t, paused.Next, "diagnose worker")
	var list printer.NodeList
	decode(t, must(t, "nodes", "list", "-o", "json").out, &list)
	if len(list.Nodes) != 2 || list.Nodes[1].State != "Blocked" || list.Nodes[1].Reason != what+". "+next || list.Nodes[0].State != "" {
		t.Errorf("nodes list: %+v", list.Nodes)
	}
	const deleted = `cannot decode run record run-gone-0f0f0f0f: version "nodecleanup.io/v9" is not nodecleanup.io/v1alpha1`
	past := "Note: cannot decode run record " + record + ": unexpected end of JSON input. If node worker still exists, no other step of its cleanup begins. " + next
	wantText(t, must(t, "history").out, past, "Note: "+deleted)
	one := must(t, "history", "worker").out
	wantText(t, one, past)
	diagnosis := want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "diagnose", "worker")).out
	wantText(t, diagnosis, "Cause:    "+what+"\n", "upgrade the agent and the CLI", "kubectl nodecleanup retry worker", "kubectl nodecleanup bypass worker")
	wantText(t, must(t, "diagnose", "gone").out, "Node gone no longer exists.", "✗ "+deleted, "upgrade the CLI")
	wantText(t, completions(t), "gone\t"+deleted+"\n", "worker\tcannot decode run record "+record)
	const unknown = "it is not known which of its steps are done: decoding run record"
	wantText(t, want(t, exit.Usage, run(t, shared.Kubeconfig(), "bypass", "worker", "--reason", "r")).errOut, unknown)
	wantText(t, want(t, exit.Failure, run(t, shared.Kubeconfig(), "uninstall", "--dry-run")).out, unknown)
	for _, said := range []string{one, diagnosis} {
		if strings.Contains(said, "run-gone") || strings.Contains(said, "kubectl delete") {
			t.Errorf("it is about another record, or advises to delete one:\n%s", said)
		}
	}

	// The agent does not begin a requested cleanup, so the command must not wait for it.
	err := follow(t, "cleanup", "live", "--yes", "--wait").end()
	var exitError *exit.Error
	if !errors.As(err, &exitError) || exitError.Code != exit.Blocked || !strings.Contains(err.Error(), "cannot decode run record "+api.RunName(live.Name, live.UID)) || !strings.Contains(exitError.Next, "retry live") {
		t.Errorf("cleanup --wait ended with %v", err)
	}

	// A retry does, because the agent begins another record then.
	waits := follow(t, "retry", "worker", "--wait")
	waits.until(what + ". " + next)
	configMap, err := api.EncodeRun(api.Namespace, &api.Run{Node: "worker", NodeUID: node.UID, State: api.Succeeded, Steps: []api.StepRun{{Name: "drain", State: api.StepSucceeded}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	waits.until("1/1 drain: done")
	if err := releaseAll(t.Context(), client, getNode(t, client, "worker")); err != nil {
		t.Fatal(err)
	}
	if err := waits.end(); err != nil {
		t.Errorf("retry --wait ended with %v", err)
	}
}
