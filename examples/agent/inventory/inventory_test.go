package inventory

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const token = "token-4d1e"

// server is an inventory for tests.
type server struct {
	t       *testing.T
	mutex   sync.Mutex
	states  map[string]string
	changes int
	// status, if it is not 0, is the status of each answer.
	status int
	// waiting, if it is not nil, is closed when the next request arrives. That request gets no answer.
	waiting chan struct{}
}

func (s *server) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var sent machine
	if request.Method == http.MethodPatch {
		if err := json.NewDecoder(request.Body).Decode(&sent); err != nil {
			s.t.Error(err)
		}
	}
	if waiting := s.waiting; waiting != nil {
		s.waiting = nil
		close(waiting)
		<-request.Context().Done()
		return
	}
	switch {
	case s.status != 0:
		writer.Header().Set("Retry-After", "9")
		writer.WriteHeader(s.status)
	case request.Header.Get("Authorization") != "Bearer "+token:
		writer.WriteHeader(http.StatusUnauthorized)
	case request.Method == http.MethodPatch:
		s.states[request.URL.Path] = sent.State
		s.changes++
	case s.states[request.URL.Path] != "":
		if err := json.NewEncoder(writer).Encode(machine{s.states[request.URL.Path]}); err != nil {
			s.t.Error(err)
		}
	case request.URL.Path == "/machines":
	default:
		writer.WriteHeader(http.StatusNotFound)
	}
}

// answer makes the server answer every request with a status until the test ends.
func (s *server) answer(t *testing.T, status int) {
	set := func(status int) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.status = status
	}
	set(status)
	t.Cleanup(func() { set(0) })
}

type secrets struct{}

func (secrets) Secret(context.Context, cleanup.SecretKey) (string, error) { return token + "\n", nil }

func TestConformance(t *testing.T) {
	inventory := &server{t: t, states: map[string]string{}}
	listening := httptest.NewServer(inventory)
	defer listening.Close()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: Descriptor(&http.Client{}, secrets{}),
		Options:    `{"url":"` + listening.URL + `","token":{"secretKeyRef":{"name":"inventory","key":"token"}}}`,
		Effects: func(*testing.T) int {
			inventory.mutex.Lock()
			defer inventory.mutex.Unlock()
			return inventory.changes
		},
		Hang: func(*testing.T, *corev1.Node) <-chan struct{} {
			inventory.mutex.Lock()
			defer inventory.mutex.Unlock()
			inventory.waiting = make(chan struct{})
			return inventory.waiting
		},
		Undo: func(_ *testing.T, node *corev1.Node) {
			inventory.mutex.Lock()
			defer inventory.mutex.Unlock()
			inventory.states["/machines/"+node.Name] = "active"
		},
		Break:     func(t *testing.T) { inventory.answer(t, http.StatusServiceUnavailable) },
		Refuse:    func(t *testing.T) { inventory.answer(t, http.StatusForbidden) },
		Unhealthy: func(t *testing.T) { inventory.answer(t, http.StatusUnauthorized) },
		Throttle: func(t *testing.T) time.Duration {
			inventory.answer(t, http.StatusTooManyRequests)
			return 9 * time.Second
		},
		Canary: token,
	})
}

// net/http quotes a malformed response in its error, and a server can echo the token.
func TestMalformedResponseRevealsNoToken(t *testing.T) {
	listening := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		connection, _, err := http.NewResponseController(writer).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		if _, err := connection.Write([]byte(request.Header.Get("Authorization") + "\r\n\r\n")); err != nil {
			t.Error(err)
		}
	}))
	defer listening.Close()
	p := &plugin{options{listening.URL, cleanup.FromSecret("inventory", "token")}, &http.Client{}, secrets{}}
	if err := p.CheckHealth(t.Context()); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("the error is %v", err)
	}
}
