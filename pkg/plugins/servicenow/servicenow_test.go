package servicenow

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func stored() plugintest.Secrets {
	return plugintest.Secrets{"password": password, "key": apiKey, "client": clientSecret}
}

// The credentials, and the options of steps that belong together.
const (
	byPassword = `,"username":"agent","password":{"secretKeyRef":{"name":"servicenow","key":"password"}}`
	byKey      = `,"apiKey":{"secretKeyRef":{"name":"servicenow","key":"key"}}`
	byClient   = `,"clientID":"agent","clientSecret":{"secretKeyRef":{"name":"servicenow","key":"client"}}`

	closing      = `,"action":"close","closeCode":"Solution provided"`
	changing     = `,"record":"change"`
	opensNormal  = changing + `,"changeType":"normal"`
	opensByModel = changing + `,"changeType":"standard","template":"` + templateID + `"`
	closesChange = changing + `,"action":"close","closeCode":"successful"`
)

func (s *instance) options(more string) string {
	return fmt.Sprintf(`{"url":%q%s}`, s.URL, more)
}

func (s *instance) bind(t *testing.T, more string) cleanup.Plugin {
	t.Helper()
	if !strings.Contains(more, "secretKeyRef") {
		more += byPassword
	}
	plugin, faults := Descriptor(s.Client(), stored()).Bind([]byte(s.options(more)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

// of returns a target of the Node with that UID, and the outputs that it receives.
func of(uid string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: types.UID(uid), Annotations: map[string]string{"note": `"a" [CODE]<script>[/code]`}}},
		Step: "ticket", Attempt: 1, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func run(t *testing.T, plugin cleanup.Plugin, uid string) map[string]string {
	t.Helper()
	target, outputs := of(uid)
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	return outputs
}

// want fails the test unless the only record of the table has these values.
func (s *instance) want(t *testing.T, table string, values row) row {
	t.Helper()
	rows := s.rows(table)
	if len(rows) != 1 {
		t.Fatalf("there are %d records: %v", len(rows), rows)
	}
	for field, value := range values {
		if rows[0][field] != value {
			t.Errorf("%s is %q, want %q", field, rows[0][field], value)
		}
	}
	return rows[0]
}

// fails returns the error of a call that has to fail, and not to change anything.
func (s *instance) fails(t *testing.T, plugin cleanup.Plugin, uid, says string, permanent bool) {
	t.Helper()
	before := s.count()
	target, _ := of(uid)
	err := plugin.Cleanup(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), says) || cleanup.IsPermanent(err) != permanent {
		t.Errorf("got %v, permanent %t, want %q", err, cleanup.IsPermanent(err), says)
	}
	if after := s.count(); after != before {
		t.Errorf("there were %d changes: %v", after-before, s.tables)
	}
}

func TestAnIncidentIsOpenedUpdatedAndClosed(t *testing.T) {
	s := newInstance(t)
	outputs := run(t, s.bind(t, `,"fields":{"urgency":"2","description":"${node.name}: ${node.annotations['note']}"}`), "u1")
	created := s.want(t, "incident", row{"state": "1", "short_description": "Cleanup of node n1", "urgency": "2", "correlation_id": "nodecleanup:u1:cleanup", "correlation_display": "nodecleanup",
		"description": `n1: "a" [ CODE]<script>[ /code]`})
	if !maps.Equal(outputs, map[string]string{"number": "INC0000001", "sys_id": created["sys_id"]}) {
		t.Error(outputs)
	}
	if updated := run(t, s.bind(t, `,"action":"update","states":[2],"fields":{"work_notes":"drained"}`), "u1"); !maps.Equal(updated, outputs) {
		t.Error(updated)
	}
	s.want(t, "incident", row{"state": "2", "work_notes": "drained"})
	for range 2 {
		run(t, s.bind(t, closing), "u1")
	}
	s.want(t, "incident", row{"state": "6", "close_code": "Solution provided", "close_notes": "Node n1 was cleaned up", "short_description": "Cleanup of node n1"})
	if s.count() != 3 {
		t.Errorf("there were %d changes", s.count())
	}
}

func TestAChangeMovesThroughItsStatesInOrder(t *testing.T) {
	s := newInstance(t)
	run(t, s.bind(t, opensByModel+`,"states":[-1]`), "u1")
	s.want(t, "change_request", row{"type": "standard", "state": "-1", "short_description": ""})
	run(t, s.bind(t, closesChange+`,"closeNotes":"${node.name} is done","fields":{"work_notes":"end"}`), "u1")
	s.want(t, "change_request", row{"state": "3", "active": "false", "close_code": "successful", "close_notes": "n1 is done", "work_notes": "end"})
	if s.count() != 4 { // Created, Implement, Review, Closed.
		t.Errorf("there were %d changes", s.count())
	}
	run(t, s.bind(t, closesChange), "u1")
	if s.count() != 4 {
		t.Error("a repetition changes the closed change")
	}
}

func TestAChangeThatMovesByItself(t *testing.T) {
	for _, jumps := range []map[string]string{{"-1": "0"}, {"0": "3"}} {
		s := newInstance(t)
		run(t, s.bind(t, opensByModel), "u1")
		s.jumps = jumps
		target, _ := of("u1")
		if err := s.bind(t, closesChange).Cleanup(t.Context(), target); err != nil {
			t.Errorf("%v: %v", jumps, err)
		}
		s.want(t, "change_request", row{"state": "3", "close_code": "successful", "close_notes": "Node n1 was cleaned up"})
	}
}

// A normal change has to be approved first. ServiceNow answers 400 without a reason.
func TestAChangeThatCannotMoveNowIsRetried(t *testing.T) {
	s := newInstance(t)
	run(t, s.bind(t, opensNormal), "u1")
	s.fails(t, s.bind(t, opensNormal+`,"states":[-1]`), "u1", "CHG0000001 cannot change from New (-5) to Implement (-1) now, only to: Assess (-4), Canceled (4)", false)
	s.rows("change_request")[0]["state"] = "-2"
	s.unmet = "No active Change Tasks"
	s.fails(t, s.bind(t, opensNormal+`,"states":[-1]`), "u1", "CHG0000001 cannot change from Scheduled (-2) to Implement (-1) now, because a condition is not met: No active Change Tasks", false)
	s.unmet = ""
	run(t, s.bind(t, opensNormal+`,"states":[-1]`), "u1")
	s.want(t, "change_request", row{"state": "-1", "type": "normal"})
}

func TestABusinessRuleKeepsTheState(t *testing.T) {
	s := newInstance(t)
	run(t, s.bind(t, ""), "u1")
	s.unwritable = []string{"state"}
	target, _ := of("u1")
	if err := s.bind(t, closing).Cleanup(t.Context(), target); err == nil || !strings.Contains(err.Error(), "changing INC0000001: ServiceNow left it in state 1 instead of 6") {
		t.Error(err)
	}
}

// Without the check of each record, the plugin would close an incident of another team.
func TestAnIgnoredQueryChangesNothing(t *testing.T) {
	for _, more := range []string{"", closing, `,"action":"update","fields":{"urgency":"1"}`} {
		s := newInstance(t)
		s.tables["incident"] = []row{{"sys_id": strings.Repeat("a", 32), "number": "INC0000077", "state": "1", "active": "true", "correlation_id": "monitoring-7"}}
		s.unreadable = []string{"correlation_id"}
		s.fails(t, s.bind(t, more), "u1", "ServiceNow returned INC0000077, whose correlation_id is not nodecleanup:u1:cleanup", true)
		target, _ := of("u1")
		if err := s.bind(t, more).(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil || s.count() > 0 {
			t.Error(err, s.tables)
		}
	}
}

// "^" would end the value, and the rest would be another condition.
func TestACaretIsNeverPartOfAQuery(t *testing.T) {
	s := newInstance(t)
	s.tables["incident"] = []row{{"sys_id": strings.Repeat("a", 32), "number": "INC0000077", "state": "1", "active": "true", "correlation_id": "nodecleanup:u1"}}
	s.fails(t, s.bind(t, closing), "u1^active=true", "the UID of the Node has a character", true)
	if sent := s.sent(); sent != "" {
		t.Errorf("sent %s", sent)
	}
	if _, faults := Descriptor(nil, nil).Bind([]byte(s.options(byKey + `,"correlation":"a^b"`))); len(faults) != 1 {
		t.Error(faults)
	}
}

func TestSeveralOpenRecordsAreAnError(t *testing.T) {
	for _, more := range []string{"", closing, `,"action":"update","fields":{"urgency":"1"}`} {
		s := newInstance(t)
		run(t, s.bind(t, ""), "u1")
		twin := maps.Clone(s.rows("incident")[0])
		twin["sys_id"], twin["number"] = strings.Repeat("b", 32), "INC0000002"
		s.tables["incident"] = append(s.tables["incident"], twin)
		s.fails(t, s.bind(t, more), "u1", "there are 2 records of this node and correlation: INC0000002, INC0000001", true)
		// One of them is closed by hand.
		twin["active"] = "false"
		run(t, s.bind(t, more), "u1")
		if twin["urgency"] != "" || twin["close_code"] != "" {
			t.Errorf("the closed one was changed: %v", twin)
		}
	}
}

// The agent can be killed after each request.
func TestAnAnswerIsLost(t *testing.T) {
	for name, test := range map[string]struct{ more, table, method string }{
		"incident": {"", "incident", http.MethodPost},
		"change":   {opensByModel + `,"states":[-1]`, "change_request", http.MethodPost},
		"state":    {opensByModel + `,"states":[-1]`, "change_request", http.MethodPatch},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInstance(t)
			s.losing(test.method)
			target, _ := of("u1")
			if err := s.bind(t, test.more).Cleanup(t.Context(), target); err == nil || cleanup.IsPermanent(err) {
				t.Error(err)
			}
			s.losing("")
			run(t, s.bind(t, test.more), "u1")
			s.want(t, test.table, nil)
		})
	}
}

func TestACorrelationThatIsNotStored(t *testing.T) {
	s := newInstance(t)
	// The template of a standard change does not take it: it is set afterwards.
	s.dropsOnCreate = []string{"correlation_id", "correlation_display"}
	run(t, s.bind(t, opensByModel), "u1")
	s.want(t, "change_request", row{"correlation_id": "nodecleanup:u1:cleanup"})
	// An access control list forbids it: a retry would create another change.
	s.unwritable = []string{"correlation_id"}
	target, _ := of("u2")
	err := s.bind(t, opensByModel).Cleanup(t.Context(), target)
	if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "CHG0000002 was created, but ServiceNow did not store its correlation_id") {
		t.Error(err)
	}
}

func TestARecordThatAnOperatorHasClosed(t *testing.T) {
	s := newInstance(t)
	outputs := run(t, s.bind(t, ""), "u1")
	s.rows("incident")[0]["state"] = "7"
	s.rows("incident")[0]["active"] = "false"
	s.fails(t, s.bind(t, `,"action":"update","fields":{"urgency":"1"}`), "u1", "updating INC0000001: it is closed", true)
	run(t, s.bind(t, closing), "u1")
	// A repetition of the step that opened it does not open another one.
	target, _ := of("u1")
	target.Outputs = map[string]map[string]string{"ticket": outputs}
	if err := s.bind(t, "").Cleanup(t.Context(), target); err != nil {
		t.Error(err)
	}
	if s.count() != 1 {
		t.Errorf("there were %d changes", s.count())
	}
	// Another cleanup of the same Node does.
	if next := run(t, s.bind(t, ""), "u1"); next["number"] != "INC0000002" {
		t.Error(next)
	}
}

func TestNoRecord(t *testing.T) {
	s := newInstance(t)
	run(t, s.bind(t, closing), "u1")
	s.fails(t, s.bind(t, `,"action":"update","fields":{"urgency":"1"}`), "u1", "updating the incident: none has the correlation cleanup. Add a step with action open", true)
	run(t, s.bind(t, ""), "u2")
	run(t, s.bind(t, `,"correlation":"other"`), "u1")
	run(t, s.bind(t, closing), "u1") // Neither is its record.
	for _, one := range s.rows("incident") {
		if one["state"] != "1" {
			t.Errorf("%v was closed", one)
		}
	}
}

func TestACanceledCleanupLeavesANote(t *testing.T) {
	s := newInstance(t)
	plugin := s.bind(t, "")
	withdraw := func(plugin cleanup.Plugin) {
		t.Helper()
		target, _ := of("u1")
		if err := plugin.(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil {
			t.Error(err)
		}
	}
	withdraw(plugin) // Nothing is open.
	run(t, plugin, "u1")
	withdraw(s.bind(t, closing))
	s.want(t, "incident", row{"work_notes": ""})
	for range 2 {
		withdraw(plugin)
	}
	canceled := row{"state": "1", "work_notes": "The cleanup of node n1 was canceled. The node is not deleted.", "correlation_display": "nodecleanup: canceled"}
	s.want(t, "incident", canceled)
	for range 2 {
		if outputs := run(t, plugin, "u1"); outputs["number"] != "INC0000001" {
			t.Error(outputs)
		}
	}
	s.want(t, "incident", row{"work_notes": canceled["work_notes"] + "\nAnother cleanup of node n1 has begun.", "correlation_display": "nodecleanup"})
}

func TestAFailedWithdrawalDoesNotKeepTheNodeCordoned(t *testing.T) {
	s := newInstance(t)
	s.Failing(t, 503, "", "")
	var log bytes.Buffer
	target, _ := of("u1")
	target.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := s.bind(t, "").(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil || !strings.Contains(log.String(), "ServiceNow answers 503 Service Unavailable") {
		t.Errorf("%v, log: %s", err, log.String())
	}
}

func TestCredentials(t *testing.T) {
	for _, credentials := range []string{byPassword, byKey, byClient} {
		s := newInstance(t)
		plugin := s.bind(t, credentials)
		run(t, plugin, "u1")
		run(t, plugin, "u2")
		if credentials == byClient && s.issued != 1 {
			t.Errorf("%d tokens were issued", s.issued)
		}
		if s.revoked = true; credentials == byClient {
			run(t, plugin, "u3")
		}
		s.sent()
		if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil || s.sent() != "GET /api/now/table/incident" {
			t.Error(err)
		}
	}
	s := newInstance(t)
	plugin, faults := Descriptor(s.Client(), plugintest.Secrets{"client": "canary-wrong"}).Bind([]byte(s.options(byClient)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	s.fails(t, plugin, "u1", `getting an access token: POST oauth_token.do: ServiceNow answers 401 Unauthorized: {"error":"invalid_client"`, true)
}

func TestErrorsOfServiceNow(t *testing.T) {
	const refused = `{"error":{"message":"Operation Failed","detail":%q},"status":"failure"}`
	for name, test := range map[string]struct {
		status     int
		retryAfter string
		body       string
		says       string
		permanent  bool
		after      time.Duration
	}{
		"access control": {403, "", fmt.Sprintf(refused, "ACL Exception Insert Failed due to security constraints"),
			"looking up the incident: GET api/now/table/incident: ServiceNow answers 403 Forbidden: Operation Failed: ACL Exception Insert Failed due to security constraints", true, 0},
		"data policy":   {403, "", fmt.Sprintf(refused, "Data Policy Exception: Short description is mandatory"), "403 Forbidden: Operation Failed: Data Policy Exception: Short description is mandatory", true, 0},
		"business rule": {403, "", fmt.Sprintf(refused, "Operation against file 'incident' was aborted by Business Rule 'Freeze'"), "aborted by Business Rule 'Freeze'", true, 0},
		"credentials":   {401, "", `{"error":{"message":"User Not Authenticated","detail":"Required to provide Auth information"},"status":"failure"}`, "401 Unauthorized: User Not Authenticated: Required to provide Auth information", true, 0},
		"bare":          {400, "", `{"error":{"message":"Bad Request","detail":""},"status":"failure"}`, "400 Bad Request: Bad Request", true, 0},
		"an hour": {429, "3600", `{"error":{"message":"Rate limit exceeded","detail":"Rate limit of 10 requests per hour for Table API exceeded"},"status":"failure"}`,
			"429 Too Many Requests: Rate limit exceeded: Rate limit of 10 requests per hour for Table API exceeded", false, time.Hour},
		"a day":       {429, "86400", "", "429", false, time.Hour},
		"down":        {503, "7", "<html>", "503", false, 7 * time.Second},
		"hibernating": {200, "", "<html>Your instance is hibernating", "not the expected JSON of ServiceNow", false, 0},
	} {
		s := newInstance(t)
		s.Failing(t, test.status, test.retryAfter, test.body)
		target, _ := of("u1")
		err := s.bind(t, "").Cleanup(t.Context(), target)
		after, _ := cleanup.RetryDelay(err)
		if err == nil || !strings.Contains(err.Error(), test.says) || cleanup.IsPermanent(err) != test.permanent || after != test.after {
			t.Errorf("%s: %v, permanent %t, after %s", name, err, cleanup.IsPermanent(err), after)
		}
	}
}

// The sys_id of an answer becomes part of a path.
func TestAnInvalidIDIsNotUsed(t *testing.T) {
	s := newInstance(t)
	s.tables["incident"] = []row{{"sys_id": "../sys_user", "number": "INC0000001", "state": "1", "active": "true", "correlation_id": "nodecleanup:u1:cleanup"}}
	s.fails(t, s.bind(t, closing), "u1", "INC0000001 has no valid sys_id", false)
}

func TestOptions(t *testing.T) {
	const all = `"url":"https://example.service-now.com"` + byKey
	for options, want := range map[string]string{
		`"url":"https://a"`:                                        "username: set exactly one of",
		all + byClient:                                             "username: set exactly one of",
		`"url":"https://a","username":"a"`:                         "password: set both username and password",
		`"url":"https://a","clientID":"a"`:                         "clientSecret: set both clientID and clientSecret",
		`"url":"https://a","username":"a:b","password":"x"`:        `username: must not contain ":"`,
		`"url":"https://a","username":"a","password":"x"`:          "password: must be in a Secret",
		`"url":"https://a","apiKey":"x"`:                           "apiKey: must be in a Secret",
		`"url":"https://u:p@a"` + byKey:                            "url: must not have credentials",
		`"url":"a"` + byKey:                                        "url: is not a URL",
		all + `,"record":"problem"`:                                `record: must be incident or change, not "problem"`,
		all + `,"action":"delete"`:                                 `action: must be open, update or close, not "delete"`,
		all + changing:                                             "changeType: must be standard, normal or emergency",
		all + `,"changeType":"normal"`:                             "changeType: applies only to a step that opens a change",
		all + changing + `,"changeType":"standard"`:                "template: must be the sys_id of a standard change template",
		all + opensNormal + `,"template":"` + templateID + `"`:     "template: applies only to changeType standard",
		all + `,"correlation":"A"`:                                 "correlation: must have 1 to 40 lower case letters",
		all + `,"action":"close"`:                                  "closeCode: is required to close a record",
		all + `,"closeCode":"x"`:                                   "closeCode: applies only to a step that closes a record",
		all + `,"closeNotes":"x"`:                                  "closeNotes: applies only to a step that closes a record",
		all + closing + `,"closeNotes":"${x}"`:                     "closeNotes: has the unknown reference",
		all + closing + `,"states":[2]`:                            "states: must end with one of closedStates to close a record, not with 2",
		all + closing + `,"states":[6,2,6]`:                        "states[2]: state 6 is listed twice",
		all + `,"action":"update"`:                                 "fields: an update needs fields or states",
		all + `,"fields":{"state":"6"}`:                            "fields.state: cannot be set here",
		all + `,"fields":{"sys_created_by":"x"}`:                   "fields.sys_created_by: cannot be set here",
		all + `,"fields":{"A^B":"x"}`:                              `fields: "A^B" is not the name of a field`,
		all + `,"fields":{"urgency":"${x}"}`:                       "fields.urgency: has the unknown reference",
		all + `,"caBundle":"no PEM"`:                               "caBundle: contains something other than PEM certificates",
		all + closesChange + `,"states":[5],"closedStates":[5]`:    "",
		all + opensByModel + `,"states":[-1]`:                      "",
		all + `,"action":"update","states":[2],"correlation":"db"`: "",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	for name, test := range map[string]struct {
		more string
		// secret is the one that the step sends.
		secret string
		// opened is the step that opens what this one needs.
		opened string
	}{
		"open an incident":  {byPassword, password, ""},
		"open a change":     {byKey + opensByModel + `,"states":[-1]`, apiKey, ""},
		"update a change":   {byClient + changing + `,"action":"update","states":[-1],"fields":{"description":"x"}`, clientSecret, opensByModel},
		"close an incident": {byClient + closing, clientSecret, byPassword},
		"close a change":    {byPassword + closesChange, password, opensByModel},
	} {
		t.Run(name, func(t *testing.T) {
			s, values := newInstance(t), stored()
			node := func(t *testing.T, name string) *corev1.Node {
				uid := "uid-of-" + name
				if test.opened != "" && name != "conformance-preview" && name != "conformance-health" {
					run(t, s.bind(t, test.opened), uid)
				}
				return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}}
			}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(s.Client(), values),
				Options:    s.options(test.more),
				Node:       node,
				Effects:    func(*testing.T) int { return s.count() },
				Hang:       func(t *testing.T, _ *corev1.Node) <-chan struct{} { return s.Hang(t) },
				Break:      func(t *testing.T) { s.Failing(t, http.StatusInternalServerError, "", test.secret) },
				Refuse:     func(t *testing.T) { s.Failing(t, http.StatusForbidden, "", "refused") },
				Throttle: func(t *testing.T) time.Duration {
					s.Failing(t, http.StatusTooManyRequests, "3600", "")
					return time.Hour
				},
				Unhealthy: func(t *testing.T) {
					maps.DeleteFunc(values, func(string, string) bool { return true })
					t.Cleanup(func() { maps.Copy(values, stored()) })
				},
				Canary: "canary",
			})
		})
	}
}
