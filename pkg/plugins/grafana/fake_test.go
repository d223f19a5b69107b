package grafana

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const token = "glsa_canary-71"

// server is a Grafana that refuses what Grafana refuses. The documents are those of
// https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/annotations/ and of the models in
// github.com/grafana/grafana-openapi-client-go. The behavior of filters, times and tags is that of pkg/api/annotations.go,
// pkg/services/annotations/annotationsimpl/xorm_store.go and pkg/services/tag/model.go in github.com/grafana/grafana.
type server struct {
	t *testing.T
	*httptest.Server
	mutex  sync.Mutex
	stored []stored
	last   int64
	// changes counts what was created and changed.
	changes int
	// recreates gives an annotation a new ID when its time changes, as the storage of /apis does
	// (github.com/grafana/grafana/pull/129057).
	recreates bool
	// before is called before each request is answered.
	before func(*http.Request)
	plugintest.Override
}

// stored is the model Annotation.
type stored struct {
	ID           int64    `json:"id"`
	DashboardUID *string  `json:"dashboardUID"`
	PanelID      int64    `json:"panelId"`
	Time         int64    `json:"time"`
	TimeEnd      int64    `json:"timeEnd"`
	Tags         []string `json:"tags"`
	Text         string   `json:"text"`
}

func newServer(t *testing.T) *server {
	s := &server{t: t}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil {
		s.before(r)
	}
	if s.Overrides(w, r) {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	status, document := s.answer(r, data)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(document); err != nil {
		s.t.Error(err)
	}
}

func message(text string) map[string]any { return map[string]any{"message": text} }

func (s *server) answer(r *http.Request, body []byte) (int, any) {
	if r.Header.Get("Authorization") != "Bearer "+token {
		return 401, message("Invalid API key")
	}
	if r.Method != http.MethodGet && r.Header.Get("Content-Type") != "application/json" {
		return 400, message("bad request data") // Grafana takes the body for a form.
	}
	id, byID := strings.CutPrefix(r.URL.Path, "/api/annotations/")
	switch {
	case byID && r.Method == http.MethodPatch:
		return s.patch(id, body)
	case r.URL.Path == "/api/annotations" && r.Method == http.MethodPost:
		return s.post(body)
	case r.URL.Path == "/api/annotations" && r.Method == http.MethodGet:
		return s.get(r)
	}
	return 404, message("Not found")
}

func (s *server) get(r *http.Request) (int, any) {
	query := r.URL.Query()
	for name := range query {
		if !slices.Contains([]string{"from", "to", "limit", "alertId", "dashboardId", "dashboardUID", "panelId", "userId", "type", "tags", "matchAny"}, name) {
			s.t.Errorf("Grafana ignores the parameter %s", name)
		}
	}
	dashboard := query.Get("dashboardUID")
	if dashboard != "" && dashboard != "known" {
		return 400, message("Invalid dashboard UID in annotation request")
	}
	limit := 100
	if text := query.Get("limit"); text != "" && text != "0" {
		limit, _ = strconv.Atoi(text)
	}
	found := []stored{}
	for _, a := range s.stored {
		if dashboard != "" && (a.DashboardUID == nil || *a.DashboardUID != dashboard) {
			continue
		}
		if slices.IndexFunc(pairs(query["tags"]), func(want pair) bool {
			return !slices.ContainsFunc(pairs(a.Tags), func(has pair) bool { return has.key == want.key && (want.value == "" || has.value == want.value) })
		}) < 0 {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b stored) int { return cmp.Compare(b.Time, a.Time) })
	return 200, found[:min(limit, len(found))]
}

func (s *server) post(body []byte) (int, any) {
	var command struct {
		DashboardUID string   `json:"dashboardUID"`
		PanelID      int64    `json:"panelId"`
		Time         int64    `json:"time"`
		TimeEnd      int64    `json:"timeEnd"`
		Tags         []string `json:"tags"`
		Text         string   `json:"text"`
	}
	s.decode(body, &command)
	if command.Text == "" {
		return 400, message("Failed to save annotation")
	}
	if command.Time == 0 {
		return 400, message("Failed to save annotation: missing timerange")
	}
	for _, time := range []int64{command.Time, command.TimeEnd} {
		if time != 0 && time < 1e12 {
			s.t.Errorf("%d is not in milliseconds", time)
		}
	}
	if command.TimeEnd == 0 {
		command.TimeEnd = command.Time
	}
	tags := joined(pairs(command.Tags))
	if encoded, _ := json.Marshal(tags); len(encoded) > 500 {
		return 400, message("Tags length exceeds the maximum allowed.")
	}
	s.last++
	s.changes++
	created := stored{ID: s.last, PanelID: command.PanelID, Time: min(command.Time, command.TimeEnd), TimeEnd: max(command.Time, command.TimeEnd), Tags: tags, Text: command.Text}
	if command.DashboardUID == "known" { // An unknown one is ignored.
		created.DashboardUID = &command.DashboardUID
	}
	s.stored = append(s.stored, created)
	return 200, map[string]any{"message": "Annotation added", "id": s.last}
}

func (s *server) patch(id string, body []byte) (int, any) {
	var command struct {
		Time    int64    `json:"time"`
		TimeEnd int64    `json:"timeEnd"`
		Tags    []string `json:"tags"`
		Text    string   `json:"text"`
	}
	s.decode(body, &command)
	i := slices.IndexFunc(s.stored, func(a stored) bool { return strconv.FormatInt(a.ID, 10) == id })
	if i < 0 {
		return 404, message("Annotation not found")
	}
	changed := &s.stored[i]
	changed.Time, changed.TimeEnd = cmp.Or(command.Time, changed.Time), cmp.Or(command.TimeEnd, changed.TimeEnd)
	changed.Text = cmp.Or(command.Text, changed.Text)
	if command.Tags != nil {
		changed.Tags = joined(pairs(command.Tags))
	}
	if s.recreates {
		s.last++
		changed.ID = s.last
	}
	s.changes++
	return 200, message("Annotation patched")
}

// decode refuses fields that the models do not have.
func (s *server) decode(body []byte, into any) {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		s.t.Errorf("%s: %v", body, err)
	}
}

type pair struct{ key, value string }

// pairs is how Grafana reads tags: a key, and a value up to a second colon.
func pairs(tags []string) []pair {
	var all []pair
	for _, tag := range tags {
		parts := append(strings.Split(tag, ":"), "")
		read := pair{strings.Trim(parts[0], " "), strings.Trim(parts[1], " ")}
		if read.key != "" && !slices.Contains(all, read) {
			all = append(all, read)
		}
	}
	return all
}

func joined(all []pair) []string {
	tags := []string{}
	for _, one := range all {
		tags = append(tags, strings.TrimSuffix(one.key+":"+one.value, ":"))
	}
	return tags
}

func (s *server) all() []stored {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.stored)
}

func (s *server) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.changes
}
