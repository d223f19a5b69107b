package report

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

type noMetrics struct{}

func (noMetrics) StepChanged(*api.StepRun, time.Duration) {}

// test publishes about one Node, to fakes.
type test struct {
	*testing.T
	node     *Node
	metadata *metadatafake.FakeMetadataClient
	events   *record.FakeRecorder
}

func newTest(t *testing.T) *test {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid"}}
	b := &test{
		T: t, events: record.NewFakeRecorder(10),
		metadata: metadatafake.NewSimpleMetadataClient(scheme, &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: node.ObjectMeta,
		}),
	}
	b.node = New(nodepatch.New(b.metadata), b.events, noMetrics{}, clock.RealClock{}).ForNode(node)
	return b
}

// expect checks what was published since the last call: how many patches, and which Events.
func (b *test) expect(patches int, reasons ...string) {
	b.Helper()
	sent := 0
	for _, action := range b.metadata.Actions() {
		if action.GetVerb() == "patch" {
			sent++
		}
	}
	b.metadata.ClearActions()
	var got []string
	for len(b.events.Events) > 0 {
		got = append(got, strings.Fields(<-b.events.Events)[1])
	}
	if sent != patches || !slices.Equal(got, reasons) {
		b.Errorf("%d patches and Events %v, want %d and %v", sent, got, patches, reasons)
	}
}

func (b *test) run(state api.State) {
	b.Helper()
	if err := b.node.Run(b.Context(), &api.Run{State: state, Message: "m"}); err != nil {
		b.Error(err)
	}
}

func (b *test) buffer() {
	b.Helper()
	b.node.Buffer(b.Context(), func(err error) { b.Error(err) })
	b.node.Publish(nodeevent.CleanupStarted(&api.Run{}))
	b.run(api.Running)
	b.expect(0)
}

func TestBufferIsFlushedAfterItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTest(t)
		b.buffer()
		<-time.After(bufferFor)
		synctest.Wait()
		b.expect(1, "CleanupStarted")
		b.run(api.Running)
		b.expect(0) // The Node has that condition.
	})
}

func TestNonRoutineEventFlushesEventsAndEndFlushesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTest(t)
		b.buffer()
		b.node.Publish(nodeevent.CleanupWaiting("no route"))
		b.expect(0, "CleanupStarted", "CleanupWaiting")
		b.run(api.Failed) // Newer than what is buffered: one patch.
		b.expect(1)
		<-time.After(2 * bufferFor)
		synctest.Wait()
		b.expect(0) // The timer is stopped.
	})
}

func TestDiscardWritesNoCondition(t *testing.T) {
	for events, want := range map[bool][]string{true: {"CleanupStarted"}, false: nil} {
		synctest.Test(t, func(t *testing.T) {
			b := newTest(t)
			b.buffer()
			b.node.Discard(events)
			b.expect(0, want...)
			<-time.After(2 * bufferFor)
			synctest.Wait()
			b.expect(0)
			b.run(api.Succeeded)
			b.expect(1)
		})
	}
}

// A condition that could not be written is written with the next one.
func TestFailedWriteIsRepeated(t *testing.T) {
	b := newTest(t)
	broken := true
	b.metadata.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, errors.New("no answer")
	})
	if err := b.node.State(t.Context(), api.Blocked, "m"); err == nil || !strings.Contains(err.Error(), "writing conditions of node worker: no answer") {
		t.Errorf("the error is %v", err)
	}
	broken = false
	if err := b.node.State(t.Context(), api.Blocked, "m"); err != nil {
		t.Error(err)
	}
	b.expect(2)
}
