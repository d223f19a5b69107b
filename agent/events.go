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

// recorders write Events, several at a time. One of client-go's recorders writes
// one after the other and drops what it has no room for: when a thousand Nodes
// go at once that would be nearly all. Events about one object stay in order.
type recorders struct {
	seed maphash.Seed
	each []record.EventRecorder
}

// eventWriters write Events at the same time; each has room for 1,000.
const eventWriters = 16

// recorder returns what records Events, and what stops it.
func (c *clients) recorder(ctx context.Context) (record.EventRecorder, func()) {
	r := &recorders{seed: maphash.MakeSeed()}
	var stops []func()
	for range eventWriters {
		broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{
			// By default an object gets 25 Events and then one in five minutes, and
			// after ten with one reason they are merged into one: a cleanup of
			// many steps would lose its story. One that is stuck is still slowed down.
			BurstSize: 200, QPS: 1. / 30, MaxEvents: 200,
		}))
		broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: c.events.CoreV1().Events("")})
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
