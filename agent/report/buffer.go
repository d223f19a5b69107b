package report

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// bufferFor is how long a new run buffers Events and conditions about progress.
// When a thousand Nodes are deleted at once, most cleanups finish within that
// time: then one Event at the end replaces several writes per Node (Discard).
const bufferFor = time.Second

// buffer holds what a new run has not published yet.
type buffer struct {
	timer  clock.Timer
	events []nodeevent.Event
	// conditions are the newest ones, nil for none.
	conditions []corev1.NodeCondition
}

// Buffer delays Events and conditions about normal progress by up to one second.
// An Event that is not routine flushes the buffered Events. Flush publishes everything. If the delayed
// write of the conditions fails, Buffer calls failed.
func (n *Node) Buffer(ctx context.Context, failed func(error)) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.buffer = &buffer{timer: n.clock.AfterFunc(bufferFor, func() {
		if err := n.Flush(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	})}
}

// Flush publishes what is buffered and ends buffering.
func (n *Node) Flush(ctx context.Context) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.flush(ctx)
}

// Discard drops the buffered conditions and stops buffering. If events is true, it publishes the
// buffered Events; otherwise it drops them. Call it when the Node is about to be deleted, or when another
// agent or run publishes its state.
func (n *Node) Discard(events bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer == nil {
		return
	}
	if events {
		n.flushEvents()
	}
	n.buffer.timer.Stop()
	n.buffer = nil
}

func (n *Node) flush(ctx context.Context) error {
	if n.buffer == nil {
		return nil
	}
	n.flushEvents()
	n.buffer.timer.Stop()
	conditions := n.buffer.conditions
	n.buffer = nil
	return n.write(ctx, conditions)
}

func (n *Node) flushEvents() {
	for _, e := range n.buffer.events {
		n.record(e)
	}
	n.buffer.events = nil
}
