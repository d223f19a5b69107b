package operate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// An unnoticed mark would release a node without cleanup a year later.
func TestBypassOfALiveNodeIsShownUntilItEnds(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	looks := [][]string{
		{"nodes", "list"}, {"nodes", "list", "-o", "wide"}, {"status"}, {"status", "-o", "short"}, {"plan", "worker"}, {"plan", "worker", "-o", "wide"},
		{"check", "--suppress", "agent"}, {"diagnose", "worker"},
	}
	const shown = "a deletion of the node would release it without cleanup: bypass by admin until "
	live, _ := f.begin("status", "-w")
	f.run("bypass", "worker", "--reason", "rebuild of rack 7", "--yes").exits(exit.OK).says("node/worker marked", "if it is deleted before "+time.Now().UTC().Add(24*time.Hour).Format("2006-01-02"))
	for _, look := range looks {
		f.run(append(look, "-n", f.namespace)...).exits(exit.OK).says(shown, ": rebuild of rack 7")
	}
	var list printer.NodeList
	f.run("nodes", "list", "-o", "json").exits(exit.OK).into(&list)
	if node := list.Nodes[0]; node.Protected || node.Bypass == nil || node.Bypass.By != "admin" || node.Bypass.Until == nil {
		t.Errorf("the node is %+v", node)
	}
	if said := f.run("diagnose", "worker"); strings.Contains(said.out, "it is protected") {
		t.Error("diagnose says that the node is protected")
	}
	f.eventually("the live view shows it", func(context.Context) (bool, error) {
		return strings.Contains(live.String(), "bypass marked on node worker: "+shown), nil
	})

	f.patch("worker", `{"metadata":{"annotations":{"`+api.AnnotationBypassUntil+`":"2026-01-31T04:00:00Z"}}}`)
	for _, look := range looks {
		if said := f.run(append(look, "-n", f.namespace)...).exits(exit.OK); strings.Contains(said.out, "bypass by") {
			t.Errorf("%s shows a bypass that has ended", look)
		}
	}
	f.run("diagnose", "worker").says("it is protected")
	f.eventually("the live view shows that it has ended", func(context.Context) (bool, error) {
		return strings.Contains(live.String(), "node worker is not marked for a bypass any more"), nil
	})

	operator := f.userInRole("nodecleanup-operator")
	by := "nodecleanup-operator-" + f.namespace
	f.runAs(operator, "bypass", "worker", "--reason", "hardware lost", "--for", "1h", "--yes", "-n", f.namespace).exits(exit.OK)
	f.run("status", "-n", f.namespace).says("bypass by " + by + " until ")
	f.delete("worker")
	f.eventually("the node is released", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
	f.run("history", "worker").says("bypassed by " + by + ": hardware lost")
	f.run("history", "worker", "-o", "wide").says("bypassed by " + by + ": hardware lost")
}

func TestHistoryNamesTheUserOfARetry(t *testing.T) {
	f := setUp(t, drainAndLog)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.delete("worker")
	f.awaitState("worker", api.Failed)
	f.run("retry", "worker", "--wait").exits(exit.Unhealthy)
	f.run("history", "worker", "-o", "wide").says("retry requested by admin")
}

// runOf returns the ConfigMap with the run record of a node.
func (f *fixture) runOf(node *corev1.Node) *corev1.ConfigMap {
	f.Helper()
	configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(f.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return configMap
}

// decoded decodes a run record.
func (f *fixture) decoded(configMap *corev1.ConfigMap) *api.Run {
	f.Helper()
	run, err := api.DecodeRun(configMap)
	if err != nil {
		f.Fatal(err)
	}
	return run
}

// The operator role is enough, and the restarted agent does not change the record.
func TestRestartedAgentKeepsTheBypassRecord(t *testing.T) {
	f := setUp(t, drainAndLog)
	stop := f.start()
	operator := f.userInRole("nodecleanup-operator")
	by := "nodecleanup-operator-" + f.namespace
	deleted, kept := f.node("gone", nil), f.node("kept", nil)
	f.patch("kept", `{"metadata":{"finalizers":["example.com/other","nodecleanup.io/finalizer"]}}`)
	for i, node := range []string{"gone", "kept"} {
		f.pod(fmt.Sprintf("cart-%d", i), node, app("cart"))
	}
	f.budget("cart", 2)
	for _, node := range []string{"gone", "kept"} {
		f.delete(node)
		f.awaitState(node, api.Failed)
	}
	stop()
	f.runAs(operator, "bypass", "gone", "kept", "--reason", "hardware lost", "--yes", "-n", f.namespace).exits(exit.OK).
		says("No agent in namespace "+f.namespace+" is the leader", "node/gone bypassed and released", "node/kept bypassed and released")
	if f.read("gone") != nil || api.HasFinalizer(f.read("kept")) {
		t.Fatal("the nodes are not released")
	}
	before := map[string]*corev1.ConfigMap{"gone": f.runOf(deleted), "kept": f.runOf(kept)}

	f.start()
	f.eventually("the agent publishes what is on the record", func(context.Context) (bool, error) {
		condition := api.CleanupConditionOf(f.read("kept"))
		return condition != nil && condition.Reason == string(api.Bypassed) && strings.Contains(condition.Message, "no agent was leading"), nil
	})
	f.node("next", nil)
	f.run("cleanup", "next", "--yes", "--delete", "-n", f.namespace).exits(exit.OK)
	for name, node := range map[string]*corev1.Node{"gone": deleted, "kept": kept} {
		record := f.runOf(node)
		if run := f.decoded(record); run.State != api.Bypassed || run.Bypasser() != by || record.ResourceVersion != before[name].ResourceVersion {
			t.Errorf("%s: the record was changed: %+v", name, run)
		}
		events, err := f.client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(node.UID)})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events.Items {
			if event.Reason == "FinalizerLost" || event.Reason == "NodeUnprotected" || event.Reason == "NodeRemoved" {
				t.Errorf("%s: the agent says %s: %s", name, event.Reason, event.Message)
			}
		}
	}
}

// The agent is started between two requests of the command.
func TestAgentStartedDuringABypassKeepsTheRecordCorrect(t *testing.T) {
	for _, moment := range []string{"/configmaps", "/events", "/nodes/"} {
		t.Run(strings.Trim(moment, "/"), func(t *testing.T) {
			f := setUp(t, drainAndLog)
			node := f.node("worker", nil)
			f.delete("worker")
			marked := false
			var once sync.Once
			kubeconfig := shared.Proxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
				write := r.Method != http.MethodGet && strings.Contains(r.URL.Path, moment)
				if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/nodes/") && !marked {
					marked, write = true, false
				}
				if write {
					once.Do(func() {
						f.start()
						f.eventually("the agent has released the node", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
					})
				}
				return false
			})
			f.runAs(kubeconfig, "bypass", "worker", "--reason", "hardware lost", "--yes", "-n", f.namespace).exits(exit.OK).says("node/worker bypassed\n", "Another user or an agent has released the node")
			if run := f.decoded(f.runOf(node)); run.State != api.Bypassed || run.Bypasser() != "admin" || run.Message != "bypassed by admin: hardware lost" || run.FinishedAt == nil {
				t.Errorf("the record is %+v", run)
			}
		})
	}
}
