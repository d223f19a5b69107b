package pagerduty

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const byKey = `"routingKey":{"secretKeyRef":{"name":"pagerduty","key":"key"}}`

func (s *service) hang(t *testing.T) <-chan struct{} {
	waiting := make(chan struct{})
	s.failing(t, func(_ http.ResponseWriter, r *http.Request) { close(waiting); <-r.Context().Done() })
	return waiting
}

func (s *service) answer(t *testing.T, status int, header, body string) {
	s.failing(t, func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func TestConformance(t *testing.T) {
	for _, kind := range []string{change, trigger, resolve} {
		t.Run(kind, func(t *testing.T) {
			s, values := newService(t), plugintest.Secrets{"key": routingKey}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(&http.Client{Transport: s}, values), Options: fmt.Sprintf(`{%s,"event":%q}`, byKey, kind),
				Effects: func(*testing.T) int { return s.state().events },
				Hang:    func(t *testing.T, _ *corev1.Node) <-chan struct{} { return s.hang(t) },
				Break:   func(t *testing.T) { s.answer(t, http.StatusBadGateway, "", routingKey) },
				Refuse: func(t *testing.T) {
					s.answer(t, http.StatusBadRequest, "", `{"message":"invalid","errors":["`+routingKey+`"]}`)
				},
				Throttle: func(t *testing.T) time.Duration { s.answer(t, http.StatusTooManyRequests, "", ""); return throttled },
				Unhealthy: func(t *testing.T) {
					values["key"] = "canary"
					t.Cleanup(func() { values["key"] = routingKey })
				},
				Canary: "canary",
			})
		})
	}
}

func TestNotifierConformance(t *testing.T) {
	s := newService(t)
	plugintest.RunNotifier(t, plugintest.NotifierSuite{
		Descriptor: Descriptor(&http.Client{Transport: s}, plugintest.Secrets{"key": routingKey}), Options: "{" + byKey + "}",
		Messages: func(*testing.T) int { got := s.state(); return len(got.changes) + len(got.alerts) },
		Hang:     func(t *testing.T) <-chan struct{} { return s.hang(t) },
		Break:    func(t *testing.T) { s.answer(t, http.StatusBadGateway, "", routingKey) },
		Refuse:   func(t *testing.T) { s.answer(t, http.StatusBadRequest, "", routingKey) },
		Throttle: func(t *testing.T) time.Duration {
			s.answer(t, http.StatusTooManyRequests, "7", "")
			return 7 * time.Second
		},
		Canary: "canary",
	})
}
