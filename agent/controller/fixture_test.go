package controller

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/secrets"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

// started is the time at which every test begins.
var started = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)

// fakeClock is a clock whose Elapsed follows it.
type fakeClock struct{ *clocktesting.FakeClock }

func (c fakeClock) Elapsed(since time.Time) func() time.Duration {
	return func() time.Duration { return c.Since(since) }
}

// bench is a reconciler that does not run: a test calls its phases. What finalizers do on an
// API server is the subject of the integration tests; here the fake clients record what the
// phases ask for.
type bench struct {
	*testing.T
	*reconciler
	client   *fake.Clientset
	metadata *metadatafake.FakeMetadataClient
	events   *record.FakeRecorder
	config   *config.Config
	clock    fakeClock
	fence    error
	counts   counts
	brake    fakeBrake
	enforced bool
}

// fakeBrake says what a test sets.
type fakeBrake struct {
	reason string
	open   time.Duration
}

func (b *fakeBrake) Reason() string         { return b.reason }
func (b *fakeBrake) OpenFor() time.Duration { return b.open }

type counts struct{ unprotected, reported, added int }

func (c *counts) NodeUnprotected()                        { c.unprotected++ }
func (c *counts) Unprotected(metav1.Object, string)       { c.reported++ }
func (c *counts) FinalizerAdded()                         { c.added++ }
func (c *counts) StepChanged(*api.StepRun, time.Duration) {}

type noDeletions struct{}

func (noDeletions) Of(context.Context, metav1.Object) (api.Deletion, bool, error) {
	return api.Deletion{User: "jane", Verified: true}, true, nil
}

func newTest(t *testing.T, nodes ...*corev1.Node) *bench {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := &bench{
		T:      t,
		events: record.NewFakeRecorder(100),
		clock:  fakeClock{clocktesting.NewFakeClock(started)},
		brake:  fakeBrake{open: math.MaxInt64},
		config: &config.Config{
			NodeSelector: labels.Everything(), Hash: "config",
			Concurrency: config.Concurrency{Nodes: 2, StepsPerNode: 1},
		},
	}
	var full, metas []runtime.Object
	for _, node := range nodes {
		full = append(full, node)
		metas = append(metas, &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: node.ObjectMeta})
	}
	b.client, b.metadata = fake.NewClientset(full...), metadatafake.NewSimpleMetadataClient(scheme, metas...)
	b.client.PrependReactor("create", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		action.(clienttesting.CreateAction).GetObject().(*corev1.ConfigMap).ResourceVersion = "1" // As an API server does.
		return false, nil, nil
	})
	keep := func(text string) string { return text }
	noJitter := func() float64 { return 0 }
	b.reconciler = newReconciler(Options{
		Client: b.client, Metadata: b.metadata, Nodes: nodepatch.New(b.metadata),
		Config:        func() *config.Config { return b.config },
		Executor:      executor.New(b.clock, noJitter, keep),
		Previewer:     executor.NewPreviewer(b.clock, noJitter, keep),
		Records:       runstore.New(b.client.CoreV1(), "ns", func(*api.Run) {}),
		Reporter:      report.New(nodepatch.New(b.metadata), b.events, &b.counts, b.clock),
		Deletions:     noDeletions{},
		Brake:         &b.brake,
		NamesEnforced: func(context.Context) (bool, error) { return b.enforced, nil },
		Secrets:       secrets.NewWrites(b.clock.Now),
		Metrics:       &b.counts,
		Notifications: &b.counts,
		Fence:         func() error { return b.fence },
		Clock:         b.clock,
		Log:           slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	for _, node := range nodes {
		b.seen(node)
	}
	return b
}

// seen is what the informer does with a Node.
func (b *bench) seen(node *corev1.Node) *nodecache.Node {
	b.Helper()
	meta := &nodecache.Node{ObjectMeta: node.ObjectMeta}
	if err := b.nodes.Store().Add(meta); err != nil {
		b.Fatal(err)
	}
	b.NodeAdded(meta)
	return meta
}

func makeNode(change func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid", ResourceVersion: "1", Finalizers: []string{api.Finalizer}}}
	if change != nil {
		change(node)
	}
	return node
}

func deletedNode(change func(*corev1.Node)) *corev1.Node {
	return makeNode(func(node *corev1.Node) {
		at := metav1.NewTime(started)
		node.DeletionTimestamp = &at
		if change != nil {
			change(node)
		}
	})
}

// cleanup returns the cleanup of a Node before its first phase; loaded, after load.
func (b *bench) cleanup(node *corev1.Node) *cleanup {
	return &cleanup{cached: &nodecache.Node{ObjectMeta: node.ObjectMeta}, config: b.config, log: b.reconciler.Log}
}

func (b *bench) loaded(node *corev1.Node, run *api.Run) *cleanup {
	b.Helper()
	c := b.cleanup(node)
	b.states.track(c.cached, func() bool { return true })
	c.node, c.report, c.stored = node, b.Reporter.ForNode(node), b.Records.NewHandle()
	if c.record = run; run == nil {
		c.record = api.NewRun(node, b.clock.Now())
	}
	return c
}

// step adds a step to the config whose plugin does nothing, unless it is given.
func (b *bench) step(name string, plugin contract.Plugin) {
	if plugin == nil {
		plugin = pluginFunc(func() error { return nil })
	}
	b.config.Steps = append(b.config.Steps, config.Step{
		Name: name, Plugin: "test", Critical: true, Timeout: time.Minute, NodeSelector: labels.Everything(), Bound: plugin,
	})
}

type pluginFunc func() error

func (f pluginFunc) Cleanup(context.Context, contract.Target) error { return f() }

// unhealthy is a plugin that reports a fault.
type unhealthy struct{ pluginFunc }

func (unhealthy) CheckHealth(context.Context) error { return errors.New("the array is rebuilding") }

// panics is a plugin that panics while deciding whether it applies.
type panics struct{ pluginFunc }

func (panics) Applies(*corev1.Node) (bool, string) { panic("nil map") }

// patches returns the finalizer patches that were sent.
func (b *bench) patches() []string {
	var patches []string
	for _, action := range b.metadata.Actions() {
		if patch, is := action.(clienttesting.PatchAction); is && patch.GetSubresource() == "" {
			patches = append(patches, string(patch.GetPatch()))
		}
	}
	return patches
}

// wantEvent checks that the oldest Event holds a text.
func (b *bench) wantEvent(text string) {
	b.Helper()
	select {
	case event := <-b.events.Events:
		if !strings.Contains(event, text) {
			b.Errorf("the Event says %q, want %q", event, text)
		}
	default:
		b.Errorf("there is no Event, want %q", text)
	}
}

func (b *bench) wantNoEvent() {
	b.Helper()
	select {
	case event := <-b.events.Events:
		b.Errorf("there is an Event %q", event)
	default:
	}
}

// condition returns the cleanup condition that was patched last, as JSON.
func (b *bench) condition() string {
	var last string
	for _, action := range b.metadata.Actions() {
		if patch, is := action.(clienttesting.PatchAction); is && patch.GetSubresource() == "status" {
			last = string(patch.GetPatch())
		}
	}
	return last
}

// stored returns the run record of the test's Node, nil if there is none.
func (b *bench) stored() *api.Run {
	b.Helper()
	run, _, err := b.Records.Load(b.Context(), "worker", "uid")
	if err != nil {
		b.Fatal(err)
	}
	return run
}
