package agent

import (
	"context"
	"hash/maphash"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// recorders write Events. One of client-go's recorders has room for 1,000 and
// drops the rest, so when thousands of Nodes go at once there must be several.
// Events about one object go through one of them and stay in order.
type recorders struct {
	seed maphash.Seed
	each []record.EventRecorder
}

const (
	// eventQueues is the number of recorders.
	eventQueues = 16
	// eventWrites are done at the same time: in a crowd, cleaning up comes
	// first and telling about it a little later.
	eventWrites = 2
)

// patientSink writes no more than so many Events at the same time.
type patientSink struct {
	record.EventSink
	room chan struct{}
}

// Create implements record.EventSink.
func (s patientSink) Create(event *corev1.Event) (*corev1.Event, error) {
	s.room <- struct{}{}
	defer func() { <-s.room }()
	return s.EventSink.Create(event)
}

// Patch implements record.EventSink.
func (s patientSink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	s.room <- struct{}{}
	defer func() { <-s.room }()
	return s.EventSink.Patch(event, data)
}

// recorder returns what records Events, and what stops it.
func (c *clients) recorder(ctx context.Context) (record.EventRecorder, func()) {
	r := &recorders{seed: maphash.MakeSeed()}
	var stops []func()
	sink := patientSink{&corev1client.EventSinkImpl{Interface: c.events.CoreV1().Events("")}, make(chan struct{}, eventWrites)}
	for range eventQueues {
		broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
			// By default an object gets 25 Events and then one in five minutes, and
			// after ten with one reason they are merged into one: a cleanup of
			// many steps would lose its story. One that is stuck is still slowed down.
			BurstSize: 200, QPS: 1. / 30, MaxEvents: 200, LRUCacheSize: 256,
		}))
		broadcaster.StartRecordingToSink(sink)
		r.each = append(r.each, broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: api.Agent}))
		stops = append(stops, broadcaster.Shutdown)
	}
	return r, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// about returns the recorder for an object, always the same.
func (r *recorders) about(object runtime.Object) record.EventRecorder {
	var name string
	if reference, is := object.(*corev1.ObjectReference); is {
		name = reference.Name
	} else if named, err := meta.Accessor(object); err == nil {
		name = named.GetName()
	}
	return r.each[maphash.String(r.seed, name)%uint64(len(r.each))]
}

// Event implements record.EventRecorder.
func (r *recorders) Event(object runtime.Object, kind, reason, message string) {
	r.about(object).Event(object, kind, reason, message)
}

// Eventf implements record.EventRecorder.
func (r *recorders) Eventf(object runtime.Object, kind, reason, format string, arguments ...any) {
	r.about(object).Eventf(object, kind, reason, format, arguments...)
}

// AnnotatedEventf implements record.EventRecorder.
func (r *recorders) AnnotatedEventf(object runtime.Object, annotations map[string]string, kind, reason, format string, arguments ...any) {
	r.about(object).AnnotatedEventf(object, annotations, kind, reason, format, arguments...)
}
