package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// inventory is a service that removes a record of each Node, in two requests.
type inventory struct {
	mutex   sync.Mutex
	removed map[string]bool
	polled  map[string]bool
	changes atomic.Int32
	hang    atomic.Pointer[chan struct{}]
	// answer, if there is one, is the answer to each request for a cleanup.
	answer atomic.Pointer[webhookplugin.Answer]
	broken atomic.Bool
}

func (i *inventory) Cleanup(ctx context.Context, request *webhookplugin.Request) (webhookplugin.Answer, error) {
	if waiting := i.hang.Load(); waiting != nil {
		close(*waiting)
		<-ctx.Done()
	}
	if answer := i.answer.Load(); answer != nil {
		return *answer, nil
	}
	if i.broken.Load() {
		return webhookplugin.Answer{}, errors.New("no such token: " + canary)
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if !i.polled[request.IdempotencyKey] {
		i.polled[request.IdempotencyKey] = true
		return webhookplugin.InProgress("removing the record, token "+canary, 1), nil
	}
	if !i.removed[request.Node.UID] {
		i.removed[request.Node.UID] = true
		i.changes.Add(1)
	}
	return webhookplugin.Done(map[string]string{"record": request.Node.UID}), nil
}

func (i *inventory) Verify(_ context.Context, request *webhookplugin.Request) (string, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.removed[request.Node.UID] {
		return "", nil
	}
	return "the record exists", nil
}

func (i *inventory) Preview(context.Context, *webhookplugin.Request) ([]webhookplugin.Effect, error) {
	return []webhookplugin.Effect{{Action: "Delete", Object: &webhookplugin.Object{Kind: "Record", Name: canary}}}, nil
}

// pager is a service that replaces its messages.
type pager struct {
	*inventory
	messages atomic.Int32
}

func (p *pager) Notify(_ context.Context, notification *webhookplugin.Notification) (reference string, err error) {
	if notification.Reference == "" {
		p.messages.Add(1)
	}
	return notification.Key, nil
}

func TestNotifierConformance(t *testing.T) {
	service := &pager{inventory: &inventory{removed: map[string]bool{}, polled: map[string]bool{}}}
	handler := webhookplugin.Handler(service, webhookplugin.Options{Token: canary})
	var status atomic.Int32
	var hang atomic.Pointer[chan struct{}]
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if waiting := hang.Load(); waiting != nil {
			if _, err := io.Copy(io.Discard, request.Body); err != nil { // Only then a server notices that its client has disconnected.
				t.Error(err)
			}
			close(*waiting)
			<-request.Context().Done()
			return
		}
		if code := int(status.Load()); code != 0 {
			writer.Header().Set("Retry-After", "7")
			writer.WriteHeader(code)
			_, _ = io.WriteString(writer, `{"message":"no such token: `+canary+`"}`)
			return
		}
		handler.ServeHTTP(writer, request)
	}))
	defer server.Close()
	answer := func(t *testing.T, code int32) {
		status.Store(code)
		t.Cleanup(func() { status.Store(0) })
	}
	plugintest.RunNotifier(t, plugintest.NotifierSuite{
		Descriptor: Descriptor(nil, plugintest.Secrets{"s/token": canary}, clock.RealClock{}),
		Options:    `{"url":"` + server.URL + `","token":{"secretKeyRef":{"name":"s","key":"token"}}}`,
		Messages:   func(*testing.T) int { return int(service.messages.Load()) },
		Hang: func(t *testing.T) <-chan struct{} {
			waiting := make(chan struct{})
			hang.Store(&waiting)
			t.Cleanup(func() { hang.Store(nil) })
			return waiting
		},
		Break:  func(t *testing.T) { answer(t, http.StatusServiceUnavailable) },
		Refuse: func(t *testing.T) { answer(t, http.StatusForbidden) },
		Throttle: func(t *testing.T) time.Duration {
			answer(t, http.StatusTooManyRequests)
			return 7 * time.Second
		},
		Canary: canary,
	})
}

func TestConformance(t *testing.T) {
	service := &inventory{removed: map[string]bool{}, polled: map[string]bool{}}
	handler := webhookplugin.Handler(service, webhookplugin.Options{Token: canary})
	server := httptest.NewServer(http.HandlerFunc(handler.ServeHTTP))
	defer server.Close()
	stored := plugintest.Secrets{"s/token": canary}
	answer := func(t *testing.T, answer webhookplugin.Answer) {
		service.answer.Store(&answer)
		t.Cleanup(func() { service.answer.Store(nil) })
	}
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(nil, stored, clock.RealClock{}),
		Options:    `{"url":"` + server.URL + `","token":{"secretKeyRef":{"name":"s","key":"token"}}}`,
		Effects:    func(*testing.T) int { return int(service.changes.Load()) },
		Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
			waiting := make(chan struct{})
			service.hang.Store(&waiting)
			t.Cleanup(func() { service.hang.Store(nil) })
			return waiting
		},
		Break: func(t *testing.T) {
			service.broken.Store(true)
			t.Cleanup(func() { service.broken.Store(false) })
		},
		Refuse: func(t *testing.T) {
			answer(t, webhookplugin.Answer{State: webhookplugin.StateFailed, Message: "no record, token " + canary, Permanent: true})
		},
		Throttle: func(t *testing.T) time.Duration {
			answer(t, webhookplugin.Answer{State: webhookplugin.StateFailed, Message: "busy", RetryAfterSeconds: 7})
			return 7 * time.Second
		},
		Undo: func(_ *testing.T, node *corev1.Node) {
			service.mutex.Lock()
			defer service.mutex.Unlock()
			delete(service.removed, string(node.UID))
		},
		Unhealthy: func(t *testing.T) {
			delete(stored, "s/token")
			t.Cleanup(func() { stored["s/token"] = canary })
		},
		Canary: canary,
	})
}
