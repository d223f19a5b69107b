package portworx_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestANodeIsRemoved(t *testing.T) {
	f := setUp(t)
	a, b, _ := f.three()
	f.volume("1", a, b)
	f.set(func() { f.nodes[a].kvdb = true })
	f.kvdbIsReported("a")
	step := f.step()
	if err := step.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	effects, err := step.(cleanup.Previewer).Preview(t.Context(), f.target("a"))
	var texts []string
	for _, one := range effects {
		texts = append(texts, one.String())
	}
	want := []string{
		"label: px/service=stop, until another node replaces the node in the KVDB; then px/service=start",
		"label: px/enabled=remove, so that Portworx is removed from the host",
		"remove PortworxNode " + a + " (from the Portworx cluster, with pxctl cluster delete in a Job)",
	}
	if err != nil || !slices.Equal(texts, want) {
		t.Errorf("%v, %q", err, texts)
	}
	if undone, err := step.(cleanup.Verifier).Verify(t.Context(), f.target("a")); err != nil || undone != "the Portworx cluster has the node as "+a {
		t.Errorf("before: %q, %v", undone, err)
	}
	for range 2 {
		if err := step.Cleanup(t.Context(), f.target("a")); err != nil {
			t.Fatal(err)
		}
	}
	if undone, err := step.(cleanup.Verifier).Verify(t.Context(), f.target("a")); err != nil || undone != "" {
		t.Errorf("after: %q, %v", undone, err)
	}
	if !slices.Equal(f.removed, []string{a}) {
		t.Errorf("pxctl has removed %q", f.removed)
	}
	if !f.inOrder("stopping Portworx", "starting Portworx again", "removing Portworx from the host", "removing the node from the Portworx cluster") {
		t.Errorf("the order was %q", f.said)
	}
	if labels := f.live(f.name("a")).Labels; labels["px/enabled"] != "false" || labels["px/service"] != "start" {
		t.Errorf("the labels are %v", labels)
	}
}

// Neither a volume nor a snapshot loses its last copy, also when the other copy is lost after the first check.
func TestTheLastCopyStays(t *testing.T) {
	for name, prepare := range map[string]func(f *fixture, a, b, c string){
		"one copy":          func(f *fixture, a, _, _ string) { f.volume("2", a) },
		"a snapshot":        func(f *fixture, a, _, _ string) { f.volume("2", a).snapshot = true },
		"the other is dead": func(f *fixture, a, b, _ string) { f.volume("2", a, b).frozen = true; f.hostDies("b") },
		"the other is leaving": func(f *fixture, a, b, _ string) {
			f.volume("2", a, b)
			f.set(func() { f.nodes[b].slow = true })
			f.must(f.client.CoreV1().Nodes().Patch(f.Context(), f.name("b"), "application/merge-patch+json", []byte(`{"metadata":{"labels":{"px/service":"stop"}}}`), metav1.PatchOptions{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			a, b, c := f.three()
			f.volume("1", a, b, c)
			prepare(f, a, b, c)
			step := f.step()
			f.eventually("the preview is blocked", func(ctx context.Context) (bool, error) {
				effects, err := step.(cleanup.Previewer).Preview(ctx, f.target("a"))
				last := effects[len(effects)-1]
				return last.Blocked != nil && last.Blocked.Cause == cleanup.BlockedByLastCopy && last.Blocked.Message == "the node has the last copy of pvc-2 (2)", err
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			target := f.target("a")
			go func() { ended <- step.Cleanup(ctx, target) }()
			f.says("the node has the last copy of 1 volumes: pvc-2 (2)")
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "last copy") {
				t.Error(err)
			}
			if labels := f.live(f.name("a")).Labels; labels["px/enabled"] != "" || len(f.removed) > 0 {
				t.Errorf("labels %v, removed %q", labels, f.removed)
			}
		})
	}
}

// The other copy is lost after Portworx was stopped on the node, and comes back.
func TestACopyThatIsLostLater(t *testing.T) {
	f := setUp(t)
	a, b, _ := f.three()
	f.volume("1", a, b)
	f.set(func() { f.nodes[a].kvdb, f.noFailover = true, true })
	f.kvdbIsReported("a")
	ended := make(chan error, 1)
	step, target := f.step(), f.target("a")
	go func() { ended <- step.Cleanup(t.Context(), target) }()
	f.says("waiting for another node to replace the node in the KVDB")
	f.set(func() { f.nodes[b].dead = true })
	f.says("the node has the last copy of 1 volumes: pvc-1 (1)")
	f.set(func() { f.nodes[b].dead, f.noFailover = false, false })
	if err := <-ended; err != nil || !slices.Equal(f.removed, []string{a}) {
		t.Errorf("%v, removed %q", err, f.removed)
	}
}

// A dead host cannot react to labels, and its KVDB member is replaced without them.
func TestADeadHost(t *testing.T) {
	f := setUp(t)
	a, b, _ := f.three()
	f.volume("1", a, b)
	f.set(func() { f.nodes[a].kvdb = true })
	f.hostDies("a")
	if err := f.step().Cleanup(t.Context(), f.target("a")); err != nil {
		t.Fatal(err)
	}
	if labels := f.live(f.name("a")).Labels; labels["px/enabled"] != "" || labels["px/service"] != "" || !slices.Equal(f.removed, []string{a}) {
		t.Errorf("labels %v, removed %q", labels, f.removed)
	}
}

// The operator deletes StorageNodes while Portworx does not answer, so an absent one proves nothing.
func TestAnAbsentStorageNodeProvesNothing(t *testing.T) {
	f := setUp(t)
	f.three()
	f.set(func() { f.status = 503 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	step, target := f.step(), f.target("a")
	go func() { ended <- step.Cleanup(ctx, target) }()
	f.says("retrying: GET v1/nodes: Portworx answers 503")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if undone, err := step.(cleanup.Verifier).Verify(t.Context(), f.target("a")); err == nil {
		t.Errorf("verified %q", undone)
	}
}

func TestPortworxRefuses(t *testing.T) {
	f := setUp(t)
	a, _, _ := f.three()
	f.outcome = func(context.Context, *corev1.Pod) (int32, string) {
		return 1, "Cannot remove node ID " + a + ": cannot remove this node since it is running kvdb."
	}
	err := f.step().Cleanup(t.Context(), f.target("a"))
	if err == nil || cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "since it is running kvdb.") {
		t.Error(err)
	}
}

// A node that never had Portworx, and one whose Node was replaced.
func TestOtherNodes(t *testing.T) {
	f := setUp(t)
	f.three()
	f.k8sNode(f.name("d"))
	if err := f.step().Cleanup(t.Context(), f.target("d")); err != nil || len(f.removed) > 0 {
		t.Errorf("%v, removed %q", err, f.removed)
	}
	effects, err := f.step().(cleanup.Previewer).Preview(t.Context(), f.target("d"))
	if err != nil || len(effects) != 1 || effects[0].Action != cleanup.Skip {
		t.Errorf("%v, %v", effects, err)
	}
	target := f.target("a")
	target.Node = target.Node.DeepCopy()
	target.Node.UID = "another"
	if err := f.step().Cleanup(t.Context(), target); !cleanup.IsPermanent(err) || len(f.removed) > 0 {
		t.Errorf("%v, removed %q", err, f.removed)
	}
	f.set(func() { f.nodes["stale"] = &pxNode{name: f.name("a"), status: "STATUS_OFFLINE"} })
	if err := f.step().Cleanup(t.Context(), f.target("a")); err == nil || !strings.Contains(err.Error(), "has two nodes") || len(f.removed) > 0 {
		t.Errorf("%v, removed %q", err, f.removed)
	}
}

func TestWithdrawal(t *testing.T) {
	f := setUp(t)
	a, _, _ := f.three()
	f.must(f.client.CoreV1().Nodes().Patch(t.Context(), f.name("a"), "application/merge-patch+json", []byte(`{"metadata":{"labels":{"px/enabled":"true"}}}`), metav1.PatchOptions{}))
	f.set(func() { f.nodes[a].kvdb = true })
	f.kvdbIsReported("a")
	waiting := make(chan struct{})
	f.outcome = func(ctx context.Context, _ *corev1.Pod) (int32, string) {
		close(waiting)
		<-ctx.Done()
		return 1, ""
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	step, target := f.step(), f.target("a")
	go func() { ended <- step.Cleanup(ctx, target) }()
	<-waiting
	cancel()
	<-ended
	for range 2 {
		if err := step.(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	node := f.live(f.name("a"))
	delete(node.Annotations, "node.alpha.kubernetes.io/ttl") // Kubernetes writes it.
	if _, set := node.Labels["px/service"]; set || node.Labels["px/enabled"] != "true" || len(node.Annotations) > 0 {
		t.Errorf("labels %v, annotations %v", node.Labels, node.Annotations)
	}
	f.eventually("the Job is deleted", func(ctx context.Context) (bool, error) {
		jobs, err := f.client.BatchV1().Jobs(f.namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(jobs.Items) == 0, err
	})
	f.eventually("Portworx runs again", func(context.Context) (on bool, err error) {
		f.set(func() { on = f.nodes[a].status == "STATUS_OK" })
		return on, nil
	})
}

// The step has set no label of a dead host, so it changes none.
func TestWithdrawalFromADeadHost(t *testing.T) {
	f := setUp(t)
	f.three()
	f.must(f.client.CoreV1().Nodes().Patch(t.Context(), f.name("a"), "application/merge-patch+json", []byte(`{"metadata":{"labels":{"zone":"x"}}}`), metav1.PatchOptions{}))
	f.hostDies("a")
	waiting := make(chan struct{})
	f.outcome = func(ctx context.Context, _ *corev1.Pod) (int32, string) {
		close(waiting)
		<-ctx.Done()
		return 1, ""
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	step, target := f.step(), f.target("a")
	go func() { ended <- step.Cleanup(ctx, target) }()
	<-waiting
	cancel()
	<-ended
	if err := step.(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if node := f.live(f.name("a")); node.Labels["zone"] != "x" || node.Annotations["nodecleanup.io/portworx-node"] != "" {
		t.Errorf("labels %v, annotations %v", node.Labels, node.Annotations)
	}
}

// A cleanup that is canceled while Portworx is stopped for the failover starts it again.
func TestWithdrawalDuringTheFailover(t *testing.T) {
	f := setUp(t)
	a, _, _ := f.three()
	f.set(func() { f.nodes[a].kvdb, f.noFailover = true, true })
	f.kvdbIsReported("a")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	step, target := f.step(), f.target("a")
	go func() { ended <- step.Cleanup(ctx, target) }()
	f.says("waiting for another node to replace the node in the KVDB")
	cancel()
	<-ended
	if err := step.(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if labels := f.live(f.name("a")).Labels; labels["px/service"] != "start" {
		t.Errorf("the labels are %v", labels)
	}
}
