package plugintest

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Override answers requests in place of a fake server while a test wants that. The handler of the fake calls
// Overrides first. With the zero value, the fake answers every request.
type Override struct {
	mutex   sync.Mutex
	handler http.HandlerFunc
}

// Overrides reports whether it has answered the request.
func (o *Override) Overrides(w http.ResponseWriter, r *http.Request) bool {
	o.mutex.Lock()
	handler := o.handler
	o.mutex.Unlock()
	if handler == nil {
		return false
	}
	handler(w, r)
	return true
}

// Answering sets what answers every request until the test ends.
func (o *Override) Answering(t *testing.T, handler http.HandlerFunc) {
	set := func(handler http.HandlerFunc) {
		o.mutex.Lock()
		defer o.mutex.Unlock()
		o.handler = handler
	}
	set(handler)
	t.Cleanup(func() { set(nil) })
}

// Failing answers every request with a status and a body until the test ends, and with Retry-After if that is not
// empty.
func (o *Override) Failing(t *testing.T, status int, retryAfter, body string) {
	o.Answering(t, func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // The client may have disconnected.
	})
}

// Throttle limits the rate until the test ends, and returns for how long it asks to wait. It serves as
// Suite.Throttle.
func (o *Override) Throttle(t *testing.T) time.Duration {
	o.Failing(t, http.StatusTooManyRequests, "7", "")
	return 7 * time.Second
}

// Hang answers no request until the test ends or the client disconnects. The channel is closed with the first request.
func (o *Override) Hang(t *testing.T) <-chan struct{} {
	waiting := make(chan struct{})
	once := sync.OnceFunc(func() { close(waiting) })
	o.Answering(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Only after it, net/http notices that the client disconnects.
		once()
		<-r.Context().Done()
		// With TLS, the client sees an answer that is written while it closes the connection.
		panic(http.ErrAbortHandler)
	})
	return waiting
}
