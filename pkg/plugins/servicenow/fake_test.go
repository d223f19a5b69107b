package servicenow

import (
	"encoding/json"
	"fmt"
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

const (
	password     = "canary-61"
	apiKey       = "canary-62"
	clientSecret = "canary-63"
	templateID   = "deb8544047810200e90d87e8dee490af"
)

// instance is a ServiceNow that refuses what ServiceNow refuses. Its sources, in the documentation of the release Xanadu and later
// (github.com/ServiceNow/ServiceNowDocs): c_TableAPI.md, change-management-api.md (documents, nextstates, numbers with a
// fraction), inbound-REST-API-rate-limiting.md (429), r_RESTAPIHTTPResponseCodes.md (403 and 404 for access control lists, data
// policies and business rules), client-credentials.md, configure-api-key.md. An unknown field of a query is ignored, and so is
// one of a record. States are those of the models that ServiceNow delivers.
type instance struct {
	t *testing.T
	*httptest.Server
	mutex  sync.Mutex
	tables map[string][]row
	// changes counts what was created and changed.
	changes int
	// requests are the methods and paths so far.
	requests []string
	// unreadable and unwritable are fields that the user may not read or write. ServiceNow does not say so.
	unreadable, unwritable []string
	// dropsOnCreate are the fields that the template of a standard change does not take.
	dropsOnCreate []string
	// moves are the states that follow a state of a change.
	moves map[string][]string
	// unmet is the condition of the change model that prevents each move.
	unmet string
	// jumps are states that the change model leaves for another one by itself.
	jumps map[string]string
	// issued counts the access tokens; the newest is valid unless it is revoked.
	issued  int
	revoked bool
	before  func(*http.Request)
	// lost is the method of the requests that are processed, but whose answer is lost.
	lost string
	plugintest.Override
}

type row map[string]string

// known are the fields of a record.
var known = []string{"sys_id", "number", "state", "active", "correlation_id", "correlation_display", "short_description", "description", "work_notes",
	"assignment_group", "urgency", "close_code", "close_notes", "type", "sys_created_on"}

func newInstance(t *testing.T) *instance {
	s := &instance{t: t, tables: map[string][]row{}, jumps: map[string]string{}, moves: map[string][]string{
		"-5": {"-4", "4"}, "-4": {"-3", "4"}, "-3": {"-2", "4"}, "-2": {"-1", "4"}, "-1": {"0", "4"}, "0": {"3"},
	}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func failure(message, detail string) map[string]any {
	return map[string]any{"error": map[string]string{"message": message, "detail": detail}, "status": "failure"}
}

func (s *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil {
		s.before(r)
	}
	if s.Overrides(w, r) {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	status, document := s.answer(r, body)
	if s.lost == r.Method {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(document); err != nil {
		s.t.Error(err)
	}
}

func (s *instance) answer(r *http.Request, body []byte) (int, any) {
	if r.URL.Path == "/oauth_token.do" {
		return s.token(r, string(body))
	}
	user, pass, basic := r.BasicAuth()
	bearer := fmt.Sprintf("Bearer canary-token-%d", s.issued)
	if !(basic && user == "agent" && pass == password || r.Header.Get("x-sn-apikey") == apiKey || s.issued > 0 && !s.revoked && r.Header.Get("Authorization") == bearer) {
		return 401, failure("User Not Authenticated", "Required to provide Auth information")
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		return 415, failure("Unsupported media type", "")
	}
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/"), "/")
	switch {
	case len(path) >= 3 && path[0] == "now" && path[1] == "table":
		return s.table(r, path[2], path[3:], body)
	case len(path) >= 3 && path[0] == "sn_chg_rest" && path[1] == "change":
		return s.changeAPI(r, path[2:], body)
	}
	return 400, failure("Requested URI does not represent any resource", "")
}

func (s *instance) token(r *http.Request, body string) (int, any) {
	if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || body != "client_id=agent&client_secret="+clientSecret+"&grant_type=client_credentials" {
		return 401, map[string]string{"error": "invalid_client", "error_description": "access_denied"}
	}
	s.issued++
	s.revoked = false
	return 200, map[string]any{"access_token": fmt.Sprintf("canary-token-%d", s.issued), "scope": "useraccount", "token_type": "Bearer", "expires_in": 1799}
}

// table is the Table API: values are strings.
func (s *instance) table(r *http.Request, table string, rest []string, body []byte) (int, any) {
	if table != "incident" && table != "change_request" {
		return 400, failure("Invalid table "+table, "")
	}
	switch {
	case r.Method == http.MethodGet && len(rest) == 0:
		return 200, map[string]any{"result": s.query(r, table)}
	case r.Method == http.MethodPost && len(rest) == 0:
		created, status, refused := s.insert(table, body, nil)
		if refused != nil {
			return status, refused
		}
		return 201, map[string]any{"result": s.read(created, r.URL.Query().Get("sysparm_fields"))}
	case r.Method == http.MethodPatch && len(rest) == 1:
		changed, status, refused := s.change(table, rest[0], body)
		if refused != nil {
			return status, refused
		}
		return 200, map[string]any{"result": s.read(changed, r.URL.Query().Get("sysparm_fields"))}
	}
	return 405, failure("Method not supported", "")
}

func (s *instance) query(r *http.Request, table string) []map[string]string {
	parameters := r.URL.Query()
	limit, _ := strconv.Atoi(parameters.Get("sysparm_limit"))
	if limit == 0 {
		limit = 10_000
	}
	found := []map[string]string{}
	for _, one := range slices.Backward(s.tables[table]) { // The newest first.
		matches := true
		for _, condition := range strings.Split(parameters.Get("sysparm_query"), "^") {
			field, value, is := strings.Cut(condition, "=")
			if !is || !slices.Contains(known, field) || slices.Contains(s.unreadable, field) {
				continue // glide.invalid_query.returns_no_rows is false.
			}
			matches = matches && strings.EqualFold(one[field], value)
		}
		if matches && len(found) < limit {
			found = append(found, s.read(one, parameters.Get("sysparm_fields")))
		}
	}
	return found
}

func (s *instance) read(one row, fields string) map[string]string {
	result := map[string]string{}
	for field, value := range one {
		if (fields == "" || slices.Contains(strings.Split(fields, ","), field)) && !slices.Contains(s.unreadable, field) {
			result[field] = value
		}
	}
	return result
}

// changeAPI is the Change Management API: values are objects, and numbers have a fraction.
func (s *instance) changeAPI(r *http.Request, path []string, body []byte) (int, any) {
	var found row
	var status int
	var refused any
	switch {
	case r.Method == http.MethodPost && (len(path) == 1 && (path[0] == "normal" || path[0] == "emergency") || len(path) == 2 && path[0] == "standard"):
		if len(path) == 2 && path[1] != templateID {
			return 404, failure("No Record found", "Record doesn't exist or ACL restricts the record retrieval")
		}
		found, status, refused = s.insert("change_request", body, row{"type": path[0]})
	case r.Method == http.MethodPatch && len(path) == 1:
		found, status, refused = s.change("change_request", path[0], body)
	case r.Method == http.MethodGet && len(path) == 2 && path[1] == "nextstates":
		return s.nextStates(path[0])
	default:
		return 400, failure("Requested URI does not represent any resource", "")
	}
	if refused != nil {
		return status, refused
	}
	result := map[string]any{}
	for field, value := range s.read(found, "") {
		entry := map[string]any{"display_value": value, "value": value}
		if field == "state" {
			entry["value"] = json.RawMessage(value + ".0")
		}
		if field == "active" {
			entry["value"] = value == "true"
		}
		result[field] = entry
	}
	return 200, map[string]any{"result": result}
}

func (s *instance) nextStates(id string) (int, any) {
	i := slices.IndexFunc(s.tables["change_request"], func(one row) bool { return one["sys_id"] == id })
	if i < 0 {
		return 404, failure("No Record found", "")
	}
	from := s.tables["change_request"][i]["state"]
	labels := map[string]string{"-5": "New", "-4": "Assess", "-3": "Authorize", "-2": "Scheduled", "-1": "Implement", "0": "Review", "3": "Closed", "4": "Canceled"}
	var transitions [][]map[string]any
	for _, to := range s.moves[from] {
		way := map[string]any{"from_state": from, "to_state": to, "transition_available": s.unmet == "", "conditions": []map[string]any{
			{"passed": s.unmet == "", "condition": map[string]any{"name": s.unmet, "description": nil}},
			{"passed": true, "condition": map[string]any{"name": "Not On hold", "description": nil}},
		}}
		transitions = append(transitions, []map[string]any{way})
	}
	return 200, map[string]any{"result": map[string]any{"available_states": append([]string{from}, s.moves[from]...), "state_label": labels, "state_transitions": transitions}}
}

// insert creates a record.
func (s *instance) insert(table string, body []byte, more row) (row, int, any) {
	number := len(s.tables[table]) + 1
	created := row{"sys_id": fmt.Sprintf("%031x%x", number, len(table)%16), "active": "true", "state": "1", "number": fmt.Sprintf("INC%07d", number)}
	if table == "change_request" {
		created["number"], created["state"] = fmt.Sprintf("CHG%07d", number), "-5"
		if more["type"] == standard {
			created["state"] = "-2"
		}
	}
	for field, value := range more {
		created[field] = value
	}
	for field, value := range s.writable(body) {
		if more["type"] != standard || !slices.Contains(s.dropsOnCreate, field) {
			created[field] = value
		}
	}
	if created["short_description"] == "" && more["type"] != standard {
		return nil, 403, failure("Operation Failed", "Data Policy Exception: Short description is mandatory")
	}
	s.changes++
	s.tables[table] = append(s.tables[table], created)
	return created, 0, nil
}

func (s *instance) change(table, id string, body []byte) (row, int, any) {
	i := slices.IndexFunc(s.tables[table], func(one row) bool { return one["sys_id"] == id })
	if i < 0 {
		return nil, 404, failure("No Record found", "Record doesn't exist or ACL restricts the record retrieval")
	}
	changed := s.tables[table][i]
	fields := s.writable(body)
	if state, moved := fields["state"]; moved && state != changed["state"] {
		if table == "change_request" && (s.unmet != "" || !slices.Contains(s.moves[changed["state"]], state)) {
			return nil, 400, failure("Bad Request", "")
		}
		closes := table == "incident" && (state == "6" || state == "7") || table == "change_request" && state == "3"
		if closes && (fields["close_code"] == "" || fields["close_notes"] == "") {
			return nil, 403, failure("Operation Failed", "Data Policy Exception: The following fields are mandatory: Close code, Close notes")
		}
		if table == "incident" && (state == "7" || state == "8") || table == "change_request" && (state == "3" || state == "4") {
			fields["active"] = "false"
		}
		if jump := s.jumps[state]; jump != "" {
			fields["state"] = jump
		}
	}
	for field, value := range fields {
		if field == "work_notes" && changed[field] != "" {
			value = changed[field] + "\n" + value
		}
		changed[field] = value
	}
	s.changes++
	return changed, 0, nil
}

// writable returns the fields of a request that ServiceNow stores.
func (s *instance) writable(body []byte) row {
	var document map[string]string
	if err := json.Unmarshal(body, &document); err != nil {
		s.t.Errorf("%s: %v", body, err)
	}
	fields := row{}
	for field, value := range document {
		if slices.Contains(known, field) && !slices.Contains(s.unwritable, field) {
			fields[field] = value
		}
	}
	return fields
}

// losing loses the answers to requests of that method.
func (s *instance) losing(method string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lost = method
}

func (s *instance) rows(table string) []row {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.tables[table]
}

func (s *instance) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.changes
}

// sent returns the requests since the last call.
func (s *instance) sent() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	requests := strings.Join(s.requests, ", ")
	s.requests = nil
	return requests
}
