package pagerduty

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const byKey = `"routingKey":{"secretKeyRef":{"name":"pagerduty","key":"key"}}`

func TestConformance(t *testing.T) {
	for _, kind := range []string{change, trigger, resolve} {
		t.Run(kind, func(t *testing.T) {
			s, values := newService(t), plugintest.Secrets{"key": routingKey}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(&http.Client{Transport: s}, values), Options: fmt.Sprintf(`{%s,"event":%q}`, byKey, kind),
				Effects: func(*testing.T) int { return s.state().events },
				Hang:    func(t *testing.T, _ *corev1.Node) <-chan struct{} { return s.Hang(t) },
				Break:   func(t *testing.T) { s.Failing(t, http.StatusBadGateway, "", routingKey) },
				Refuse: func(t *testing.T) {
					s.Failing(t, http.StatusBadRequest, "", `{"message":"invalid","errors":["`+routingKey+`"]}`)
				},
				Throttle: func(t *testing.T) time.Duration { s.Failing(t, http.StatusTooManyRequests, "", ""); return throttled },
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
		Hang:     func(t *testing.T) <-chan struct{} { return s.Hang(t) },
		Break:    func(t *testing.T) { s.Failing(t, http.StatusBadGateway, "", routingKey) },
		Refuse:   func(t *testing.T) { s.Failing(t, http.StatusBadRequest, "", routingKey) },
		Throttle: func(t *testing.T) time.Duration {
			s.Failing(t, http.StatusTooManyRequests, "7", "")
			return 7 * time.Second
		},
		Canary: "canary",
	})
}
