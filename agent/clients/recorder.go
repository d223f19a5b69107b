package clients

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

// recorders write Events. One recorder of client-go queues 1,000 Events and drops the rest, so
// there are several for thousands of Nodes that are deleted at once. Events about one object go
// through one of them and stay in order.
type recorders struct {
	seed maphash.Seed
	each []record.EventRecorder
}

const (
	// recorderCount is the number of recorders.
	recorderCount = 16
	// maxWrites is the number of Events that are written at the same time. If many Nodes are
	// deleted at once, their cleanup comes first and the Events a little later.
	maxWrites = 2
)

// limitedSink limits how many Events are written at the same time.
type limitedSink struct {
	record.EventSink
	slots chan struct{}
}

// Create implements record.EventSink.
func (s limitedSink) Create(event *corev1.Event) (*corev1.Event, error) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	return s.EventSink.Create(event)
}

// Patch implements record.EventSink.
func (s limitedSink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	return s.EventSink.Patch(event, data)
}

// Recorder returns a recorder of Events, and a function that stops it.
func (c *Clients) Recorder(ctx context.Context) (record.EventRecorder, func()) {
	r := &recorders{seed: maphash.MakeSeed()}
	var stops []func()
	sink := limitedSink{&corev1client.EventSinkImpl{Interface: c.Events.CoreV1().Events("")}, make(chan struct{}, maxWrites)}
	for range recorderCount {
		broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
			// By default an object gets 25 Events and then one in five minutes, and
			// after ten with the same reason they are merged into one. That is too few
			// for a cleanup of many steps. One that is stuck is still limited.
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

// about returns the recorder for an object. It is always the same one.
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
