package http

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestConformance(t *testing.T) {
	var requests atomic.Int32
	var status atomic.Int32
	var hang atomic.Pointer[chan struct{}]
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		requests.Add(1)
		if _, err := io.Copy(io.Discard, request.Body); err != nil { // Only then a server notices that its client has disconnected.
			t.Error(err)
		}
		if waiting := hang.Load(); waiting != nil {
			close(*waiting)
			<-request.Context().Done()
		}
		if code := int(status.Load()); code != 0 {
			writer.Header().Set("Retry-After", "7")
			writer.WriteHeader(code)
			fmt.Fprint(writer, request.URL, request.Header)
			return
		}
		fmt.Fprintf(writer, `{"ticket": %q}`, request.Header.Get("Idempotency-Key"))
	}))
	defer server.Close()
	answer := func(t *testing.T, code int) {
		status.Store(int32(code))
		t.Cleanup(func() { status.Store(0) })
	}
	stored := plugintest.Secrets{"s/url": server.URL + "/" + canary, "s/token": canary}
	hangs := func(t *testing.T) <-chan struct{} {
		waiting := make(chan struct{})
		hang.Store(&waiting)
		t.Cleanup(func() { hang.Store(nil) })
		return waiting
	}
	throttle := func(t *testing.T) time.Duration {
		answer(t, http.StatusTooManyRequests)
		return 7 * time.Second
	}
	plugintest.RunNotifier(t, plugintest.NotifierSuite{
		Descriptor: Descriptor(nil, stored),
		Options: `{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}},
			"outputs":{"reference":"{.ticket}"}}`,
		Hang:     hangs,
		Break:    func(t *testing.T) { answer(t, http.StatusInternalServerError) },
		Refuse:   func(t *testing.T) { answer(t, http.StatusForbidden) },
		Throttle: throttle,
		Canary:   canary,
	})
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(nil, stored),
		Options: `{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}},
			"outputs":{"ticket":"{.ticket}"}}`,
		Effects:  func(*testing.T) int { return int(requests.Load()) },
		Hang:     func(t *testing.T, _ *corev1.Node) <-chan struct{} { return hangs(t) },
		Break:    func(t *testing.T) { answer(t, http.StatusInternalServerError) },
		Refuse:   func(t *testing.T) { answer(t, http.StatusForbidden) },
		Throttle: throttle,
		Unhealthy: func(t *testing.T) {
			delete(stored, "s/token")
			t.Cleanup(func() { stored["s/token"] = canary })
		},
		Canary: canary,
	})
}
