package drain

// window is how many evictions of Pods of one controller are requested at the same time. It
// grows and shrinks like the congestion window of TCP: by one after a window of accepted
// evictions, to half after a refusal. How many are best depends on the API server, on how many
// evict under the same budget, and on how fast the controller replaces Pods; none of it is
// known beforehand.
type window struct{ size float64 }

const (
	// firstWindow is the number at the start. Two evictions under one budget that collide make
	// the API server wait for half a second, but one alone waits for its cache most of the time:
	// with four the throughput is twice that of one.
	firstWindow = 4
	// lastWindow bounds it: more are not faster (docs/performance.md).
	lastWindow = 8
)

// limit is how many evictions may be in flight, at least one.
func (w *window) limit() int { return int(w.size) }

// accepted records that an eviction was accepted.
func (w *window) accepted() { w.size = min(w.size+1/w.size, lastWindow) }

// refused records that an eviction was refused by a budget, or that the API server could not
// handle it.
func (w *window) refused() { w.size = max(w.size/2, 1) }
