package drain

// window limits the evictions in flight for Pods of one controller. It adapts like the congestion
// window of TCP: it grows by one after a window of accepted evictions, and halves after a refusal. The
// best number depends on the API server, on the other evictions under the same budget, and on how
// fast the controller replaces Pods.
type window struct{ size float64 }

const (
	// firstWindow is the size at the start. If two evictions under one budget conflict, the API server
	// waits for half a second. But a single one mostly waits for the API server's cache: four have
	// twice the throughput of one.
	firstWindow = 4
	// maxWindow is the largest size: more are not faster (docs/performance.md).
	maxWindow = 8
)

// limit is how many evictions may be in flight, at least one.
func (w *window) limit() int { return int(w.size) }

// accepted records that an eviction was accepted.
func (w *window) accepted() { w.size = min(w.size+1/w.size, maxWindow) }

// refused records that a budget refused an eviction, or that the API server failed.
func (w *window) refused() { w.size = max(w.size/2, 1) }
