package operate_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestOperatorPausesAndResumesAllCleanups(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	operator, viewer := f.userInRole("nodecleanup-operator"), f.userInRole("nodecleanup-viewer")
	by := "nodecleanup-operator-" + f.namespace
	as := func(kubeconfig string, arguments ...string) ran {
		t.Helper()
		return f.runAs(kubeconfig, append(arguments, "-n", f.namespace)...)
	}
	as(operator, "pause").exits(exit.Usage).says("needs a --reason")
	as(operator, "resume").exits(exit.OK).says("cleanups are not paused")
	// A user who pauses creates the status if no agent has written it yet.
	as(viewer, "pause", "--reason", "early").exits(exit.Failure).says("no agent was ever started", "kubectl nodecleanup install --wait")
	as(operator, "pause", "--reason", "not yet").exits(exit.OK).says("cleanups paused", "no agent in namespace "+f.namespace+" is the leader")
	f.node("worker", nil)
	stop := f.start()
	f.delete("worker")
	f.awaitState("worker", api.Pending)

	as(viewer, "pause", "--reason", "r").exits(exit.Failure).says("cannot patch")
	as(operator, "pause", "--reason", "storage array down, INC-4711").exits(exit.OK).says("Previously: cleanups paused by", "not yet", "cleanups paused")
	stop()
	f.start()
	as(viewer, "status").exits(exit.Unhealthy).says("Paused by "+by+" ", " ago: storage array down, INC-4711", "Next: ask "+by+", then run: kubectl nodecleanup resume")
	as(viewer, "check", "--suppress", "agent").says("pause, brake and maintenance windows", "Paused by "+by)
	f.eventuallyDiagnoses("worker", "pause")
	as(viewer, "diagnose", "worker").exits(exit.Unhealthy).says("no cleanup begins: paused by "+by, "kubectl nodecleanup resume", `kubectl nodecleanup bypass worker --reason "…"`)
	if node := f.read("worker"); node == nil || api.CleanupConditionOf(node).Reason != string(api.Pending) {
		t.Errorf("the node does not wait: %+v", node)
	}

	as(viewer, "resume").exits(exit.Failure).says("cannot patch")
	as(operator, "resume", "--reason", "array repaired").exits(exit.OK).says("cleanups resumed")
	f.eventually("the node is released", func(ctx context.Context) (bool, error) { return f.read("worker") == nil, nil })
	as(viewer, "check", "--suppress", "agent").says("none: cleanups may begin")
}

func TestResumeReleasesTheBrake(t *testing.T) {
	f := setUp(t, "brake: {maxTerminating: 1}\nsteps: [{name: log, plugin: logger}]\n")
	for _, name := range []string{"a", "b", "c"} {
		f.node(name, nil)
	}
	f.delete("a")
	f.delete("b")
	f.start()
	f.eventuallyDiagnoses("a", "brake")
	f.run("status", "-n", f.namespace).exits(exit.Unhealthy).says("Brake engaged ", "2 of 3 protected nodes are terminating (limit 1)", "Next: fix the cause first", "then run: kubectl nodecleanup resume")
	f.run("resume", "-n", f.namespace).exits(exit.OK).says("Previously: brake engaged", "cleanups resumed")
	for _, name := range []string{"a", "b"} {
		f.eventually("node "+name+" is released", func(context.Context) (bool, error) { return f.read(name) == nil, nil })
	}
	f.run("status", "-n", f.namespace).exits(exit.OK)
}

// Without an agent, only a user can repair the state of the brake.
func TestPauseAndResumeRepairAnUndecodableBrake(t *testing.T) {
	f := setUp(t, "steps: [{name: log, plugin: logger}]\n")
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	broken := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.StatusName}, Data: map[string]string{api.BrakeKey: "{"}}
	if _, err := configMaps.Create(t.Context(), broken, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.node("worker", nil)
	f.delete("worker")
	const problem = "decoding the state of the brake in configmap "
	f.run("status", "-n", f.namespace).exits(exit.Unhealthy).says("Not known whether the brake is engaged: "+problem, "nodes")
	f.run("check", "-n", f.namespace).exits(exit.Unhealthy).says("! pause", problem, "if no agent is the leader, replace it: kubectl nodecleanup resume")
	f.run("diagnose", "worker", "-n", f.namespace).exits(exit.Unhealthy).says(api.Finalizer)
	for _, command := range [][]string{{"resume"}, {"pause", "--reason", "INC-7"}} {
		f.run(append(command, "-n", f.namespace)...).exits(exit.OK).says("The stored state of the brake is removed, because it cannot be used: " + problem)
		status, err := configMaps.Get(t.Context(), api.StatusName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = api.BrakeOf(status); err != nil || api.PauseOf(status).Paused != (command[0] == "pause") {
			t.Errorf("after %s: %v, %+v", command[0], err, api.PauseOf(status))
		}
		status.Data = broken.Data
		if _, err := configMaps.Update(t.Context(), status, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
