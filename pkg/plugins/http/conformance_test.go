package http

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestConformance(t *testing.T) {
	var requests atomic.Int32
	var broken atomic.Bool
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
		if broken.Load() {
			writer.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(writer, request.URL, request.Header)
		}
	}))
	defer server.Close()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(nil, secrets{"s/url": server.URL + "/" + canary, "s/token": canary}),
		Options:    `{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}}}`,
		Effects:    func(*testing.T) int { return int(requests.Load()) },
		Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
			waiting := make(chan struct{})
			hang.Store(&waiting)
			t.Cleanup(func() { hang.Store(nil) })
			return waiting
		},
		Break:  func(*testing.T) { broken.Store(true) },
		Canary: canary,
	})
}
