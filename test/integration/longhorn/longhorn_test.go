package longhorn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/longhorn"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

func TestWaitsUntilAllDataIsMoved(t *testing.T) {
	f := setUp(t)
	f.withWebhook()
	node, other := f.node("one"), f.node("other")
	f.create("volumes", "pvc-1", nil, map[string]any{}, map[string]any{"kubernetesStatus": map[string]any{"namespace": "shop", "pvcName": "data"}})
	f.replica("pvc-1", "r-1", node, nil)
	f.replica("pvc-2", "r-2", node, nil)
	f.change("nodes", node.Name, func(object map[string]any) {
		object["status"] = status("True", []string{"r-1", "r-2"}, []string{"ubuntu"}, "uuid")
	}, "status")
	mark, err := shared.AuditMark()
	f.no(err)
	end := f.start(f.bind(`{}`), f.target(node))
	f.awaitProgress("still has 2 replicas and 1 backing image: replica of volume pvc-1 (claim shop/data); replica of volume pvc-2; backing image ubuntu")
	f.isSpec(node, false, true)
	f.isSpec(other, true, false)
	f.move("pvc-1", "r-1", node, other)
	f.move("pvc-2", "r-2", node, other)
	f.awaitProgress("still has 1 backing image: backing image ubuntu")
	f.change("nodes", node.Name, func(object map[string]any) { object["status"] = status("True", nil, nil, "uuid") }, "status")
	f.no(end())
	events, err := shared.AuditSince(mark)
	f.no(err)
	patches := 0
	for _, event := range events {
		if event.User == f.user && event.Verb != "get" && event.Verb != "list" {
			patches++
		}
	}
	if patches != 1 {
		t.Errorf("%d changes, want one patch", patches)
	}
	if undone, err := f.bind(`{}`).(cleanup.Verifier).Verify(t.Context(), f.target(node)); undone != "" || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
	f.no(f.bind(`{}`).Cleanup(t.Context(), f.target(node)))
}

// Longhorn's webhook rejects every change of a node for some seconds.
func TestRepeatsThePatchWhileTheDisksAreSynchronized(t *testing.T) {
	f := setUp(t)
	f.withWebhook()
	node := f.node("one")
	f.change("nodes", node.Name, func(object map[string]any) { object["status"].(map[string]any)["diskStatus"] = map[string]any{} }, "status")
	end := f.start(f.bind(`{}`), f.target(node))
	f.awaitProgress("retrying: patching nodes.longhorn.io " + f.namespace + "/" + node.Name + ": admission webhook \"validator.longhorn.io\" denied the request: spec and status of disks")
	f.change("nodes", node.Name, func(object map[string]any) { object["status"] = status("True", nil, nil, "uuid") }, "status")
	f.no(end())
	f.isSpec(node, false, true)
}

func TestAMissingRightIsAnError(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	role, err := f.client.RbacV1().Roles(f.namespace).Get(t.Context(), f.user, metav1.GetOptions{})
	f.no(err)
	for i := range role.Rules {
		if role.Rules[i].Resources[0] == "nodes" {
			role.Rules[i].Verbs = []string{"get", "list"}
		}
	}
	_, err = f.client.RbacV1().Roles(f.namespace).Update(t.Context(), role, metav1.UpdateOptions{})
	f.no(err)
	f.eventually("the patch is forbidden", func(ctx context.Context) (bool, error) {
		err := f.bind(`{}`).Cleanup(ctx, f.target(node))
		return err != nil && strings.Contains(err.Error(), `cannot patch resource "nodes"`), nil
	})
}

func TestWithoutALonghornNode(t *testing.T) {
	f := setUp(t)
	node := f.kubernetesNode("plain")
	plugin := f.bind(`{}`)
	// It may be the wrong namespace.
	for what, err := range map[string]error{"Cleanup": plugin.Cleanup(t.Context(), f.target(node)), "CheckHealth": plugin.(cleanup.HealthChecker).CheckHealth(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "namespace "+f.namespace+" has no nodes.longhorn.io") {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	f.node("other")
	f.no(plugin.Cleanup(t.Context(), f.target(node)))
	f.no(plugin.(cleanup.HealthChecker).CheckHealth(t.Context()))
	f.no(plugin.(cleanup.Withdrawer).Withdraw(t.Context(), f.target(node)))
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(node)); undone != "" || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), f.target(node))
	if err != nil || len(effects) != 1 || effects[0].String() != "skip: Longhorn has no node "+node.Name {
		t.Errorf("the preview is %v, %v", effects, err)
	}
}

// Without Longhorn, or with another of its API versions, nothing is served. Longhorn before 1.13 does not serve shards.
func TestResourcesThatAreNotServed(t *testing.T) {
	server := cluster.Start(t, cluster.Options{Name: "longhorn-older"})
	client := kubernetes.NewForConfigOrDie(server.RESTConfig())
	plain, err := client.CoreV1().Nodes().Create(t.Context(), cluster.MakeNode("plain", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plugin, faults := longhorn.Descriptor(client, clock.RealClock{}).Bind(nil)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	target := (&fixture{}).target(plain)
	for what, err := range map[string]error{"Cleanup": plugin.Cleanup(t.Context(), target), "CheckHealth": plugin.(cleanup.HealthChecker).CheckHealth(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "nodes.longhorn.io") {
			t.Errorf("%s: the error is %v", what, err)
		}
	}

	f := setUpOn(t, server, "nodes", "replicas", "volumes", "backingimages")
	node, other := f.node("one"), f.node("other")
	f.replica("pvc-1", "r-1", node, nil)
	end := f.start(f.bind(`{}`), f.target(node))
	f.awaitProgress("still has 1 replica")
	f.move("pvc-1", "r-1", node, other)
	f.no(end())
}

// Longhorn clears the list of a disk that is not ready, and has no list of shards.
func TestTheStatusOfTheDisksIsNotEnough(t *testing.T) {
	f := setUp(t)
	node, other := f.node("one"), f.node("other")
	f.replica("pvc-1", "r-1", node, nil)
	f.change("nodes", node.Name, func(object map[string]any) { object["status"] = status("True", nil, nil, "uuid") }, "status")
	f.create("shards", "s-1", map[string]string{"longhornnode": node.Name}, map[string]any{"nodeID": node.Name}, nil)
	end := f.start(f.bind(`{"healthyElsewhere":1,"healthyElsewhereAfter":"0s"}`), f.target(node))
	f.awaitProgress("still has 1 replica and 1 shard: replica of volume pvc-1, healthy on 0 other nodes; shard s-1")
	f.replica("pvc-1", "r-2", other, nil)
	f.awaitProgress("still has 1 replica and 1 shard: shard s-1")
	f.no(f.resource("shards").Delete(t.Context(), "s-1", metav1.DeleteOptions{}))
	f.no(end())
}

func TestAHostThatIsDown(t *testing.T) {
	f := setUp(t)
	node, other := f.node("one"), f.node("other")
	f.replica("pvc-1", "r-1", node, nil)
	f.replica("pvc-1", "r-2", other, map[string]any{"failedAt": "2026-01-31T04:00:00Z"})
	f.replica("pvc-2", "r-3", node, map[string]any{"healthyAt": "", "lastHealthyAt": ""})
	f.down(node)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() { waiting <- f.bind(`{}`).Cleanup(ctx, f.target(node)) }()
	f.awaitProgress("Longhorn moves no data from this node, because it is not ready (KubernetesNodeNotReady). Next: repair the host, or set the option healthyElsewhere")
	cancel()
	if err := <-waiting; err == nil || !strings.Contains(err.Error(), "it is not ready") {
		t.Errorf("without healthyElsewhere: %v", err)
	}

	// A new attempt has another config. It does not wait for healthyElsewhereAfter.
	ended := f.start(f.bind(`{"healthyElsewhere":1,"healthyElsewhereAfter":"1000h"}`), f.target(node))
	f.awaitProgress("replica of volume pvc-1, healthy on 0 other nodes. Longhorn moves no data")
	f.change("replicas", "r-2", func(object map[string]any) { object["spec"].(map[string]any)["failedAt"] = "" })
	f.no(ended())
	if undone, err := f.bind(`{"healthyElsewhere":1}`).(cleanup.Verifier).Verify(t.Context(), f.target(node)); undone != "" || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
	if undone, err := f.bind(`{"healthyElsewhere":2}`).(cleanup.Verifier).Verify(t.Context(), f.target(node)); !strings.Contains(undone, "pvc-1, healthy on 1 other node") || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
}

func TestLonghornHasTimeToMoveTheData(t *testing.T) {
	f := setUp(t)
	node, other := f.node("one"), f.node("other")
	f.replica("pvc-1", "r-1", node, nil)
	f.replica("pvc-1", "r-2", other, nil)
	plugin := f.bind(`{"healthyElsewhere":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, f.target(node)) }()
	f.awaitProgress("still has 1 replica: replica of volume pvc-1")
	f.eventually("the plugin waits", func(context.Context) (bool, error) { return f.clock.HasWaiters(), nil })
	f.clock.SetTime(f.began.Add(9*time.Minute + 30*time.Second))
	f.awaitProgress("still has 1 replica: replica of volume pvc-1")
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "still has 1 replica") || cleanup.IsPermanent(err) {
		t.Errorf("before 10 minutes: the error is %v", err)
	}
	f.clock.SetTime(f.began.Add(10 * time.Minute))
	f.no(plugin.Cleanup(t.Context(), f.target(node)))
}

// Each of two Nodes has one of the last two copies. If each counted for the other, both would be lost.
func TestTwoNodesWithTheLastCopiesWaitForEachOther(t *testing.T) {
	f := setUp(t)
	one, two := f.node("one"), f.node("two")
	f.replica("pvc-1", "r-1", one, nil)
	f.replica("pvc-1", "r-2", two, nil)
	plugin := f.bind(`{"healthyElsewhere":1,"healthyElsewhereAfter":"0s"}`)
	f.no(plugin.Cleanup(t.Context(), f.target(one)))
	end := f.start(plugin, f.target(two))
	f.awaitProgress("node " + two.Name + " still has 1 replica: replica of volume pvc-1, healthy on 0 other nodes")
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(one)); !strings.Contains(undone, "pvc-1, healthy on 0 other nodes") || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
	three := f.node("three")
	f.move("pvc-1", "r-1", one, three)
	f.no(end())
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(one)); undone != "" || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
}

func TestVerify(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	plugin := f.bind(`{}`)
	verify := func() string {
		t.Helper()
		undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(node))
		f.no(err)
		return undone
	}
	f.no(plugin.Cleanup(t.Context(), f.target(node)))
	f.replica("pvc-1", "r-1", node, nil)
	if undone := verify(); !strings.Contains(undone, "still has 1 replica: replica of volume pvc-1") {
		t.Errorf("with a new replica: %q", undone)
	}
	f.no(f.resource("replicas").Delete(t.Context(), "r-1", metav1.DeleteOptions{}))
	f.refresh(node.Name)
	if undone := verify(); undone != "" {
		t.Errorf("without it: %q", undone)
	}
	f.setSpec(node, true, false)
	if undone := verify(); undone != "Longhorn can place replicas on node "+node.Name+" again" {
		t.Errorf("with scheduling: %q", undone)
	}
}

func TestWithdraw(t *testing.T) {
	for name, test := range map[string]struct {
		allowed, evicting bool
		during            func(f *fixture, node *corev1.Node)
		// want is after the withdrawal.
		wantAllowed, wantEvicting bool
	}{
		"as before":                     {allowed: true, wantAllowed: true},
		"scheduling was off":            {},
		"eviction was requested":        {evicting: true, wantEvicting: true},
		"another client has changed it": {allowed: false, during: func(f *fixture, node *corev1.Node) { f.setSpec(node, true, false) }, wantAllowed: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.withWebhook()
			node := f.node("one")
			f.setSpec(node, test.allowed, test.evicting)
			f.no(f.bind(`{}`).Cleanup(t.Context(), f.target(node)))
			f.isSpec(node, false, true)
			if test.during != nil {
				test.during(f, node)
			}
			for range 2 {
				f.no(f.bind(`{}`).(cleanup.Withdrawer).Withdraw(t.Context(), f.target(node)))
				f.isSpec(node, test.wantAllowed, test.wantEvicting)
			}
			object, err := f.resource("nodes").Get(t.Context(), node.Name, metav1.GetOptions{})
			f.no(err)
			if len(object.GetAnnotations()) > 0 {
				t.Errorf("annotations remain: %v", object.GetAnnotations())
			}
		})
	}
}

// Longhorn's node can outlive its Node, if a new Node of the same name registers immediately.
func TestARequestOfAnEarlierNode(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	f.no(f.bind(`{}`).Cleanup(t.Context(), f.target(node)))
	f.no(f.client.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}))
	again := f.kubernetesNode("one")
	if err := f.bind(`{}`).Cleanup(t.Context(), f.target(node)); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "no longer exists") {
		t.Errorf("the cleanup of the old Node: %v", err)
	}
	f.no(f.bind(`{}`).(cleanup.Withdrawer).Withdraw(t.Context(), f.target(again)))
	f.isSpec(again, false, true)
	f.no(f.bind(`{}`).Cleanup(t.Context(), f.target(again)))
	f.no(f.bind(`{}`).(cleanup.Withdrawer).Withdraw(t.Context(), f.target(node)))
	f.isSpec(again, false, true)
	f.no(f.bind(`{}`).(cleanup.Withdrawer).Withdraw(t.Context(), f.target(again)))
	f.isSpec(again, true, false)
}

func TestPreview(t *testing.T) {
	f := setUp(t)
	node, other := f.node("one"), f.node("other")
	for _, name := range []string{"pvc-1", "pvc-3"} {
		f.create("volumes", name, nil, map[string]any{}, map[string]any{"kubernetesStatus": map[string]any{"namespace": "shop", "pvcName": "of-" + name}})
	}
	f.create("volumes", "pvc-4", nil, map[string]any{}, map[string]any{
		"robustness": "faulted", "conditions": []any{map[string]any{"type": "Scheduled", "status": "False", "message": "insufficient storage"}},
	})
	f.create("backingimages", "ubuntu", nil, map[string]any{}, map[string]any{"diskFileStatusMap": map[string]any{"uuid-" + other.Name: map[string]any{"state": "ready"}}})
	f.replica("pvc-1", "r-1", node, nil)
	f.replica("pvc-2", "r-2", node, nil)
	f.replica("pvc-2", "r-2b", other, nil)
	f.replica("pvc-3", "r-3", node, nil)
	f.replica("pvc-4", "r-4", node, map[string]any{"failedAt": "2026-01-31T04:00:00Z"})
	f.change("nodes", node.Name, func(object map[string]any) {
		object["status"] = status("True", []string{"r-1", "r-2", "r-3", "r-4"}, []string{"ubuntu"}, "uuid")
	}, "status")
	f.change("volumes", "pvc-3", func(object map[string]any) {
		object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Scheduled", "status": "False", "message": "insufficient storage"}}
	}, "status")
	preview := func(options string) string {
		t.Helper()
		effects, err := f.bind(options).(cleanup.Previewer).Preview(t.Context(), f.target(node))
		f.no(err)
		var lines []string
		for _, effect := range effects {
			lines = append(lines, strings.ReplaceAll(effect.String(), f.namespace, "NS"))
		}
		return strings.Join(lines, "\n")
	}
	moved := `disable nodes.longhorn.io NS/NS-one (Longhorn places no more replicas there, and is asked to move 4 replicas and 1 backing image to other nodes)
move Replica NS/r-1 (the last healthy copy, replica of volume pvc-1 (claim shop/of-pvc-1))
move Replica NS/r-2 (not checked: replica of volume pvc-2, healthy on 1 other node; every other node that takes replicas has one of this volume, so Longhorn can move it only if replica soft anti-affinity is enabled)
move Replica NS/r-3 (blocked: the last healthy copy, replica of volume pvc-3 (claim shop/of-pvc-3), Longhorn finds no other node for it: insufficient storage)
move Replica NS/r-4 (blocked: no node has a healthy copy, replica of volume pvc-4, the volume is faulted: it has no healthy replica)
move BackingImage NS/ubuntu (backing image ubuntu, healthy on 1 other node)`
	if got := preview(`{}`); got != moved {
		t.Errorf("got\n%s\nwant\n%s", got, moved)
	}
	f.isSpec(node, true, false)
	f.down(node)
	const down = ". Longhorn moves no data from this node, because it is not ready (KubernetesNodeNotReady))"
	left := `disable nodes.longhorn.io NS/NS-one (Longhorn places no more replicas there, and is asked to move 4 replicas and 1 backing image to other nodes)
move Replica NS/r-1 (blocked: the last healthy copy, replica of volume pvc-1 (claim shop/of-pvc-1)` + down + `
skip Replica NS/r-2 (replica of volume pvc-2, healthy on 1 other node; it may stay, because the host is down)
move Replica NS/r-3 (blocked: the last healthy copy, replica of volume pvc-3 (claim shop/of-pvc-3)` + down + `
move Replica NS/r-4 (blocked: no node has a healthy copy, replica of volume pvc-4` + down + `
skip BackingImage NS/ubuntu (backing image ubuntu, healthy on 1 other node; it may stay, because the host is down)`
	if got := preview(`{"healthyElsewhere":1}`); got != left {
		t.Errorf("got\n%s\nwant\n%s", got, left)
	}
}

func TestConformance(t *testing.T) {
	f := setUp(t)
	f.withWebhook()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go wait.UntilWithContext(ctx, func(context.Context) { f.passTime(10 * time.Second) }, 10*time.Millisecond)
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(),
		Options:    f.options(`{}`),
		Node:       func(_ *testing.T, name string) *corev1.Node { return f.node(name) },
		Effects: func(t *testing.T) int {
			nodes, err := f.resource("nodes").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			changes := 0
			for _, one := range nodes.Items {
				changes += int(one.GetGeneration()) + len(one.GetAnnotations())
			}
			return changes - len(nodes.Items)
		},
		Hang: func(_ *testing.T, node *corev1.Node) <-chan struct{} {
			f.replica("pvc-1", "r-1", node, nil)
			waiting := make(chan struct{})
			close(waiting)
			return waiting
		},
		Undo:      func(_ *testing.T, node *corev1.Node) { f.setSpec(node, true, false) },
		Unhealthy: f.revoke,
	})
}

// revoke takes the rights of the plugin until the test ends.
func (f *fixture) revoke(t *testing.T) {
	bindings := f.client.RbacV1().RoleBindings(f.namespace)
	binding, err := bindings.Get(t.Context(), f.user, metav1.GetOptions{})
	f.no(err)
	f.no(bindings.Delete(t.Context(), f.user, metav1.DeleteOptions{}))
	f.healthy(t.Context(), false)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		binding.ObjectMeta = metav1.ObjectMeta{Name: binding.Name}
		if _, err := bindings.Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		f.healthy(ctx, true)
	})
}

// healthy waits until the authorizer has followed a change.
func (f *fixture) healthy(ctx context.Context, want bool) {
	f.Helper()
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		err := f.bind(`{}`).(cleanup.HealthChecker).CheckHealth(ctx)
		return (err == nil) == want, nil
	})
	f.no(err)
}
