package pagerduty

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// routingKey has the length of an integration key.
const routingKey = "canary0123456789abcdef0123456789"

// service is a PagerDuty that refuses what the Events API refuses. The rules are those of
// https://github.com/PagerDuty/developer-docs/tree/main/docs/events-API-v2: 01-Overview.md, 02-Trigger-Events.md and
// 03-Change-Events.md.
type service struct {
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	// hosts are those that were called.
	hosts map[string]bool
	// changes are the change events, alerts the alerts by their key. events counts what was accepted.
	changes []event
	alerts  map[string]*alert
	events  int
	plugintest.Override
}

type alert struct {
	open     bool
	triggers []event
}

func newService(t *testing.T) *service {
	s := &service{t: t, alerts: map[string]*alert{}, hosts: map[string]bool{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// RoundTrip sends what is meant for PagerDuty to the service.
func (s *service) RoundTrip(request *http.Request) (*http.Response, error) {
	to, err := url.Parse(s.server.URL)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	s.hosts[request.URL.Scheme+"://"+request.URL.Host] = true
	s.mutex.Unlock()
	request = request.Clone(request.Context())
	request.URL.Scheme, request.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(request)
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Overrides(w, r) {
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var e event
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || decoder.Decode(&e) != nil {
		s.t.Errorf("%s %s: %s", r.Method, r.URL.Path, data)
	}
	if problem := s.wrong(r.URL.Path, e, len(data)); problem != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"status":"invalid event","message":"Event object is invalid","errors":[%q]}`, problem)
		return
	}
	s.accept(e)
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprint(w, `{"status":"success","message":"Event processed"}`)
}

func (s *service) accept(e event) {
	s.events++
	one := s.alerts[e.DedupKey]
	switch {
	case e.Action == "":
		s.changes = append(s.changes, e)
	case e.Action == resolve && one != nil:
		one.open = false
	case e.Action == resolve: // It is dropped.
	case one != nil && one.open:
		one.triggers = append(one.triggers, e)
	default:
		s.alerts[e.DedupKey] = &alert{open: true, triggers: []event{e}}
	}
}

// wrong returns why PagerDuty refuses an event.
func (s *service) wrong(path string, e event, size int) string {
	isChange := path == "/v2/change/enqueue"
	switch {
	case path != "/v2/enqueue" && !isChange:
		return "there is no such path"
	case size > 512<<10:
		return "the payload is too large"
	case len(e.RoutingKey) != 32:
		return "'routing_key' is invalid"
	case isChange != (e.Action == ""):
		return "'event_action' is invalid"
	case !isChange && e.Action != trigger && e.Action != resolve:
		return "'event_action' is invalid"
	case utf8.RuneCountInString(e.DedupKey) > 255 || e.Action == resolve && e.DedupKey == "":
		return "'dedup_key' is invalid"
	case e.Action == resolve:
		return ""
	case e.Payload == nil || e.Payload.Summary == "" || utf8.RuneCountInString(e.Payload.Summary) > 1024:
		return "'payload.summary' is invalid"
	case e.Action == trigger && e.Payload.Source == "":
		return "'payload.source' is missing or blank"
	case e.Action == trigger && !strings.Contains(" critical error warning info ", " "+e.Payload.Severity+" "):
		return "'payload.severity' is invalid"
	}
	return ""
}

// state is what a service has got.
type state struct {
	changes []event
	alerts  map[string]alert
	events  int
	hosts   map[string]bool
}

func (s *service) state() state {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	alerts := map[string]alert{}
	for key, one := range s.alerts {
		alerts[key] = alert{open: one.open, triggers: slices.Clone(one.triggers)}
	}
	return state{changes: slices.Clone(s.changes), alerts: alerts, events: s.events, hosts: maps.Clone(s.hosts)}
}
