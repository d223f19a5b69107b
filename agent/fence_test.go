package agent

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
)

type closes struct {
	io.Reader
	closed bool
}

func (c *closes) Close() error { c.closed = true; return nil }

func TestWhoNoLongerLeadsChangesNothingAnywhere(t *testing.T) {
	var arrived atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	defer server.Close()
	trusts := &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	var lost error
	plain := fenced{server.Client().Transport, func() error { return lost }}
	for name, transport := range map[string]http.RoundTripper{"as it is": plain, "with other roots": plain.WithTLS(trusts)} {
		for method, changes := range map[string]bool{
			"GET": false, "HEAD": false, "OPTIONS": false, "POST": true, "PUT": true, "PATCH": true, "DELETE": true,
		} {
			for _, lost = range []error{nil, errors.New("the Lease is zoe's")} {
				arrived.Store(0)
				body := &closes{Reader: bytes.NewReader(nil)}
				request, err := http.NewRequest(method, server.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := (&http.Client{Transport: transport}).Do(request)
				if err == nil {
					response.Body.Close()
				}
				refused := changes && lost != nil
				if got := arrived.Load() == 0; got != refused || (err != nil) != refused {
					t.Errorf("%s, %s, fence says %v: arrived %v, %v", name, method, lost, !got, err)
				}
				if refused && (!errors.Is(err, lost) || !strings.Contains(err.Error(), "this agent is no longer the leader: the Lease is zoe's") || !body.closed) {
					t.Errorf("%s, %s: %v, body closed %v", name, method, err, body.closed)
				}
			}
		}
	}
}

// What the agent is put together from: each write of these clients is asked about.
func TestTheClientsOfTheLeaderAreFenced(t *testing.T) {
	arrived := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		arrived <- request.Method
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	lost := errors.New("the Lease is zoe's")
	c, err := newClients(Options{REST: &rest.Config{Host: server.URL}}, serverclock.New(slog.New(slog.DiscardHandler)), func() error { return lost })
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, write := range map[string]func() error{
		"kubernetes": func() error { return c.leading.CoreV1().RESTClient().Post().Resource("nodes").Do(ctx).Error() },
		"metadata": func() error {
			return c.leadingMetadata.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).Delete(ctx, "worker", metav1.DeleteOptions{})
		},
	} {
		if err := write(); !errors.Is(err, lost) || len(arrived) > 0 {
			t.Errorf("%s: %v, %d requests arrived", name, err, len(arrived))
		}
	}
	// Whoever does not lead answers admission all the same, and keeps its certificate.
	if err := c.work.CoreV1().RESTClient().Post().Resource("events").Do(ctx).Error(); errors.Is(err, lost) || len(arrived) != 1 {
		t.Errorf("a write that is not the leader's: %v", err)
	}
}
