package operate_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const drainAndTell = `
steps:
- {name: drain, plugin: drain}
- {name: tell, plugin: http, dependsOn: [drain], options: {url: {secretKeyRef: {name: inventory, key: url}}}}
- {name: gpu, plugin: logger, dependsOn: [drain], nodeSelector: {matchLabels: {gpu: "yes"}}}
`

func TestPlanShowsPodsBudgetsVolumesAndSecrets(t *testing.T) {
	f := setUp(t, drainAndTell)
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.pod("web", "worker", app("web"))
	f.pod("alone", "worker", func(pod *corev1.Pod) { pod.OwnerReferences = nil })
	f.budget("cart", 1)
	attachment := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "csi-1"}, Spec: storagev1.VolumeAttachmentSpec{
		Attacher: "example.com", NodeName: "worker", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pv-7")},
	}}
	if _, err := f.client.StorageV1().VolumeAttachments().Create(t.Context(), attachment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.client.StorageV1().VolumeAttachments().Delete(contextOf(t), "csi-1", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	var plan printer.Plan
	f.run("plan", "worker", "-o", "json").exits(exit.Blocked).into(&plan)
	if plan.APIVersion != printer.APIVersion || plan.Kind != "Plan" || len(plan.Hash) != 23 {
		t.Errorf("the view is a %s %s, hash %q", plan.APIVersion, plan.Kind, plan.Hash)
	}
	if len(plan.Steps) != 2 || plan.Steps[0].Summary != "cordon; evict 3 pods, 2 BLOCKED" || plan.Steps[1].Wave != 2 {
		t.Errorf("steps %+v", plan.Steps)
	}
	if len(plan.Skipped) != 1 || plan.Skipped[0].Name != "gpu" {
		t.Errorf("skipped %+v", plan.Skipped)
	}
	if !slices.Equal(plan.Volumes, []string{"pv-7"}) {
		t.Errorf("volumes %v", plan.Volumes)
	}
	blocked := map[string]printer.Blocker{}
	for _, blocker := range plan.Blocked {
		blocked[blocker.What] = blocker
	}
	if one := blocked["default/cart-0"]; !strings.Contains(one.Reason, "needs 1 healthy pods and has 1 currently") || !strings.Contains(one.Remedy, "edit pdb cart") {
		t.Errorf("the budget: %+v", one)
	}
	if one := blocked["default/alone"]; !strings.Contains(one.Remedy, "allowUnmanaged: true") {
		t.Errorf("the pod without a controller: %+v", one)
	}
	if one := blocked["step tell"]; !strings.Contains(one.Reason, "inventory is missing") || !strings.Contains(one.Remedy, "create secret generic inventory") {
		t.Errorf("the secret: %+v", one)
	}
	f.run("dry-run", "worker").exits(exit.Blocked).says("Plan "+plan.Hash, "evict 3 pods, 2 BLOCKED", "nothing was changed")
	if text := f.run("plan", "worker").out; strings.Contains(text, "Run it") {
		t.Errorf("the plan is blocked, and this offers to run it:\n%s", text)
	}
	f.run("plan", "worker", "-o", "wide").exits(exit.Blocked).says("drain: evict default/web")
	f.run("plan", "worker", "-o", "short").exits(exit.Blocked).says("worker plan "+plan.Hash, "3 blockers")
	f.run("plan", "worker", "-o", "name").exits(exit.Blocked).says("node/worker\n")
}

func TestPlanOfManyNodes(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	rack := map[string]string{"rack": "r7"}
	f.node("a", rack)
	f.node("b", rack)
	f.node("other", nil)
	f.run("plan", "-l", "rack=r7").exits(exit.OK).says("2 nodes, 0 blocked")
	f.pod("cart-0", "b", app("cart"))
	f.budget("cart", 1)
	f.run("plan", "-l", "rack=r7").exits(exit.Blocked).says("2 nodes, 1 blocked", "default/cart-0")
	var list printer.PlanList
	f.run("plan", "-l", "rack=r7", "-o", "json").exits(exit.Blocked).into(&list)
	if list.Kind != "PlanList" || len(list.Plans) != 2 {
		t.Errorf("the view is a %s of %d", list.Kind, len(list.Plans))
	}
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.run("plan", "-l", "rack=r7", "-o", "name").exits(exit.Blocked)
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, event := range events {
		if event.User == "admin" && event.Verb == "list" && strings.Contains(event.URI, "/volumeattachments") {
			lists++
		}
	}
	if lists != 1 {
		t.Errorf("the volume attachments of the cluster were listed %d times for 2 nodes", lists)
	}
	f.run("plan", "-l", "rack=none").exits(exit.Failure).says("no node matches selector", "--show-labels")
	f.run("plan", "nobody").exits(exit.Failure).says("reading node nobody", "history nobody")
}

func TestPlanOfAnUnselectedNode(t *testing.T) {
	f := setUp(t, "nodeSelector: {matchLabels: {mine: \"yes\"}}\nsteps: [{name: drain, plugin: drain}]\n")
	f.node("theirs", nil)
	f.patch("theirs", `{"metadata":{"finalizers":null}}`)
	f.run("plan", "theirs").exits(exit.OK).says("does not select this node; if deleted, it is removed immediately")
	f.run("cleanup", "theirs", "--yes").exits(exit.Failure).says("does not select this node", "change nodeSelector")
}

// A changed label removes no finalizer, and a node with the finalizer is cleaned up.
func TestPlanOfAnUnselectedNodeWithTheFinalizer(t *testing.T) {
	f := setUp(t, "nodeSelector: {matchExpressions: [{key: theirs, operator: DoesNotExist}]}\nsteps: [{name: log, plugin: logger}]\n")
	f.start()
	f.node("once-ours", map[string]string{"theirs": "now"})
	f.run("plan", "once-ours").exits(exit.OK).says("does not select this node, but it still has the finalizer: if deleted, it is cleaned up anyway", "log")
	f.run("preflight", "once-ours").exits(exit.OK).says("Note: the config's nodeSelector", "it is cleaned up anyway")
	f.node("theirs", map[string]string{"theirs": "now"})
	f.patch("theirs", `{"metadata":{"finalizers":null}}`)
	f.run("plan", "theirs").exits(exit.OK).says("No plan for node theirs: the config's nodeSelector")
	f.run("nodes", "list").exits(exit.OK).says(`Note: node theirs is not protected: outside the config's nodeSelector "!theirs"`)
	f.run("status").says("Nodes       1 protected · 1 excluded by nodeSelector\n")
	f.run("check").says("✓ nodes: protected nodes · 1 of 1 (excluded by nodeSelector: 1)")
	f.run("diagnose", "theirs").exits(exit.OK).says(`it is NOT protected: if it is deleted, no cleanup runs; outside the config's nodeSelector "!theirs"`)
	f.run("preflight", "theirs").exits(exit.OK).says("No cleanup: the config's nodeSelector", "does not select this node")
	f.run("cleanup", "once-ours", "--yes").exits(exit.Failure).says("a cleanup on request does nothing", "kubectl delete node once-ours", "bypass once-ours")
	f.run("diagnose", "once-ours").exits(exit.OK).says("it is protected")
	f.delete("once-ours")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("once-ours") == nil, nil })
	f.run("history", "once-ours").exits(exit.OK).says("Succeeded", "1/1")
}

func TestPlanWithAnInvalidConfig(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.node("worker", nil)
	f.edit("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drian}]\n")
	f.run("plan", "worker").exits(exit.Failure).says(`line 3`, `unknown plugin "drian"`, "nodecleanup config edit")
	if err := f.client.CoreV1().ConfigMaps(f.namespace).Delete(t.Context(), api.ConfigName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.run("plan", "worker").exits(exit.Failure).says("there is no configmap nodecleanup-config", "install --config FILE (without --config, the default steps are installed)")
	f.run("config", "view").exits(exit.Failure).says("install --config FILE")
	f.run("config", "edit").exits(exit.Failure).says("install --config FILE")
	f.run("config", "view", "--accepted").exits(exit.Failure).says("configmap "+f.namespace+"/nodecleanup-status has no key accepted-config.yaml", "kubectl nodecleanup config view")
}

// The user can read only nodes, Pods and the config.
func TestPlanReportsMissingReadRights(t *testing.T) {
	f := setUp(t, drainAndTell)
	f.node("worker", nil)
	f.pod("web", "worker", app("web"))
	reader := f.userWith("reader", rule("", "nodes", "get"), rule("", "configmaps", "get"))
	f.runAs(reader, "plan", "worker").exits(exit.Failure).says("--namespace")
	f.runAs(reader, "plan", "worker", "-n", f.namespace).exits(exit.OK).says(
		"Plan · worker", "cleanup --plan cannot run exactly this plan: you lack the rights to preview step drain", "Run it, without --plan: kubectl nodecleanup cleanup worker\n",
		"step drain could not be previewed", "you are not allowed to read secret inventory", "you are not allowed to list volumeattachments", "no estimate")
	f.runAs(reader, "cleanup", "worker", "-n", f.namespace, "--plan", "00000-00000-00000-00000", "--yes").exits(exit.Failure).says(
		"cannot compare it with the current plan: you lack the rights to preview step drain; nothing was started")
	nobody := f.userWith("nobody")
	f.runAs(nobody, "plan", "worker").exits(exit.Failure).says("reading node worker", "ask a cluster administrator")
}

func TestPlanWritesNothing(t *testing.T) {
	f := setUp(t, drainAndTell)
	f.node("worker", nil)
	f.pod("web", "worker", app("web"))
	f.wantsNoWrites("plan", "worker")
	f.wantsNoWrites("history")
	f.wantsNoWrites("nodes", "list")
}

// wantsNoWrites runs a command as a user with all rights and checks the API server's audit log.
func (f *fixture) wantsNoWrites(arguments ...string) {
	f.Helper()
	const user = "watcher"
	kubeconfig, err := shared.KubeconfigFor(user, "system:masters")
	if err != nil {
		f.Fatal(err)
	}
	mark, err := shared.AuditMark()
	if err != nil {
		f.Fatal(err)
	}
	f.runAs(kubeconfig, arguments...)
	events, err := shared.AuditSince(mark)
	if err != nil {
		f.Fatal(err)
	}
	seen := 0
	for _, event := range events {
		if event.User != user {
			continue
		}
		seen++
		if writes(event) {
			f.Errorf("%s writes: %s %s", strings.Join(arguments, " "), event.Verb, event.URI)
		}
	}
	if seen == 0 {
		f.Error("the audit log holds no request of this user: the test proves nothing")
	}
}

// writes: the request stores something, or was meant to. A review is created and
// answered, and stored nowhere.
func writes(event cluster.AuditEvent) bool {
	reads := slices.Contains([]string{"get", "list", "watch"}, event.Verb)
	review := event.APIGroup == "authorization.k8s.io" || event.APIGroup == "authentication.k8s.io"
	return !reads && !review && !strings.Contains(event.URI, "dryRun=All")
}
