package grafana

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func (s *server) options(more string) string {
	return fmt.Sprintf(`{"url":%q,"token":{"secretKeyRef":{"name":"grafana","key":"token"}}%s}`, s.URL, more)
}

func (s *server) bind(t *testing.T, more string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(s.Client(), plugintest.Secrets{"token": token}).Bind([]byte(s.options(more)))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

const ending = `,"action":"end"`

var (
	night  = time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)
	after5 = night.Add(5 * time.Minute)
)

// at is a target of the Node with that UID, whose step begins at that time.
func at(uid string, began time.Time) cleanup.Target {
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: types.UID(uid), Labels: map[string]string{"team": "<b>a&b</b>"}}},
		Step: "mark", Attempt: 1, Began: began, Log: slog.New(slog.DiscardHandler),
	}
}

// run cleans up, and fails the test on an error.
func run(t *testing.T, plugin cleanup.Plugin, target cleanup.Target) {
	t.Helper()
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
}

// regions describes the annotations: their minutes after the beginning of the night.
func (s *server) regions() string {
	var all []string
	for _, a := range s.all() {
		all = append(all, fmt.Sprintf("%g-%g", time.UnixMilli(a.Time).Sub(night).Minutes(), time.UnixMilli(a.TimeEnd).Sub(night).Minutes()))
	}
	return strings.Join(all, " ")
}

func (s *server) want(t *testing.T, regions string) {
	t.Helper()
	if got := s.regions(); got != regions {
		t.Errorf("the regions are %q, want %q", got, regions)
	}
}

func TestARegionFromBeginToEnd(t *testing.T) {
	s := newServer(t)
	run(t, s.bind(t, `,"tags":["cluster:prod"],"text":"${node.name} of ${node.labels['team']}"`), at("u1", night))
	s.want(t, "0-0")
	run(t, s.bind(t, ending), at("u1", after5))
	s.want(t, "0-5")
	a := s.all()[0]
	if strings.Join(a.Tags, " ") != "nodecleanup node-uid:u1 correlation:cleanup cluster:prod" {
		t.Error(a.Tags)
	}
	if a.Text != "n1 of &lt;b&gt;a&amp;b&lt;/b&gt;" {
		t.Errorf("a label becomes HTML: %s", a.Text)
	}
}

func TestRepeatsWriteNothingMore(t *testing.T) {
	for _, recreates := range []bool{false, true} {
		s := newServer(t)
		s.recreates = recreates
		for range 3 {
			run(t, s.bind(t, ""), at("u1", night))
		}
		for range 3 {
			run(t, s.bind(t, ending), at("u1", after5))
		}
		run(t, s.bind(t, ""), at("u1", night)) // A late repetition of the first step.
		if s.want(t, "0-5"); s.count() != 2 {
			t.Errorf("there were %d changes", s.count())
		}
	}
}

func TestTheWholeRegionIsWrittenIfTheStartIsMissing(t *testing.T) {
	deleted, requested := metav1.NewTime(night.Add(-time.Minute)), night.Add(-2*time.Minute).Format(time.RFC3339)
	for name, test := range map[string]struct {
		change func(*corev1.Node)
		want   string
	}{
		"deleted":             {func(n *corev1.Node) { n.DeletionTimestamp = &deleted }, "-1-5"},
		"requested":           {func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: requested} }, "-2-5"},
		"requested at a word": {func(n *corev1.Node) { n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "now"} }, "5-5"},
		"requested in future": {func(n *corev1.Node) {
			n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: "2036-01-01T00:00:00Z"}
		}, "5-5"},
		"requested, then deleted": {func(n *corev1.Node) {
			n.DeletionTimestamp = &deleted
			n.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: requested}
		}, "-1-5"},
	} {
		s := newServer(t)
		target := at("u1", after5)
		test.change(target.Node)
		for range 2 {
			run(t, s.bind(t, ending), target)
		}
		if got := s.regions(); got != test.want || s.count() != 1 {
			t.Errorf("%s: the regions are %q, want %q, after %d changes", name, got, test.want, s.count())
		}
	}
}

func TestTheStartIsDeletedDuringTheEnd(t *testing.T) {
	s := newServer(t)
	run(t, s.bind(t, ""), at("u1", night))
	s.before = func(r *http.Request) {
		if r.Method == http.MethodPatch {
			s.mutex.Lock()
			defer s.mutex.Unlock()
			s.stored = nil
		}
	}
	run(t, s.bind(t, ending), at("u1", after5))
	s.want(t, "0-5")
}

// Grafana's filter by "nodecleanup" also finds "nodecleanup:x", and tags of others can look alike.
func TestOnlyOwnAnnotationsAreChanged(t *testing.T) {
	s := newServer(t)
	text := func(tags ...string) stored {
		s.last++
		return stored{ID: s.last, Time: night.UnixMilli(), TimeEnd: night.UnixMilli(), Tags: tags, Text: "x"}
	}
	s.stored = []stored{
		text("nodecleanup:x", "node-uid:u1", "correlation:cleanup"),
		text("nodecleanup", "node-uid:u2", "correlation:cleanup"),
		text("nodecleanup", "node-uid:u1", "correlation:other"),
		text("node-uid:u1", "correlation:cleanup"),
	}
	run(t, s.bind(t, ending), at("u1", after5))
	s.want(t, "0-0 0-0 0-0 0-0 5-5")
	run(t, s.bind(t, ending+`,"correlation":"other"`), at("u1", after5))
	s.want(t, "0-0 0-0 0-5 0-0 5-5")
}

func TestASecondCleanupOfTheSameNodeIsANewRegion(t *testing.T) {
	s := newServer(t)
	run(t, s.bind(t, ""), at("u1", night))
	run(t, s.bind(t, ending), at("u1", after5))
	run(t, s.bind(t, ""), at("u1", night.Add(10*time.Minute)))
	s.want(t, "0-5 10-10")
	run(t, s.bind(t, ending), at("u1", night.Add(12*time.Minute)))
	s.want(t, "0-5 10-12")
	// The start of the third one is missing. The regions before it stay as they are.
	run(t, s.bind(t, ending), at("u1", night.Add(20*time.Minute)))
	s.want(t, "0-5 10-12 20-20")
}

func TestWithdrawEndsTheRegionOnce(t *testing.T) {
	s := newServer(t)
	plugin := s.bind(t, "")
	run(t, plugin, at("u1", night))
	run(t, plugin, at("u2", night))
	for minute := range 3 {
		if err := plugin.(cleanup.Withdrawer).Withdraw(t.Context(), at("u1", after5.Add(time.Duration(minute)*time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	s.before = func(r *http.Request) { t.Errorf("the step that ends the region sends %s", r.Method) }
	if err := s.bind(t, ending).(cleanup.Withdrawer).Withdraw(t.Context(), at("u2", after5)); err != nil {
		t.Error(err)
	}
	s.before = nil
	if s.want(t, "0-5 0-0"); s.all()[0].Text != "Cleanup of node n1 (canceled)" {
		t.Errorf("%+v", s.all())
	}
	// The next cleanup of the Node has its own region.
	run(t, plugin, at("u1", night.Add(10*time.Minute)))
	s.want(t, "0-5 0-0 10-10")
}

func TestAFailedWithdrawalDoesNotKeepTheNodeCordoned(t *testing.T) {
	s := newServer(t)
	s.Failing(t, 503, "7", "down")
	var log bytes.Buffer
	target := at("u1", night)
	target.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := s.bind(t, "").(cleanup.Withdrawer).Withdraw(t.Context(), target); err != nil || !strings.Contains(log.String(), "Grafana answers 503 Service Unavailable") {
		t.Errorf("%v, log: %s", err, log.String())
	}
}

func TestADashboard(t *testing.T) {
	s := newServer(t)
	const known = `,"dashboardUID":"known","panelID":4`
	run(t, s.bind(t, known), at("u1", night))
	run(t, s.bind(t, known+ending), at("u1", after5))
	if s.want(t, "0-5"); *s.all()[0].DashboardUID != "known" || s.all()[0].PanelID != 4 {
		t.Errorf("%+v", s.all())
	}
	// Grafana would create an annotation of the whole organization.
	unknown := s.bind(t, `,"dashboardUID":"unknown"`)
	err := unknown.Cleanup(t.Context(), at("u2", night))
	if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "400 Bad Request: Invalid dashboard UID") || len(s.all()) != 1 {
		t.Error(err, s.all())
	}
	if err := unknown.(cleanup.HealthChecker).CheckHealth(t.Context()); err == nil {
		t.Error("the health check accepts an unknown dashboard")
	}
}

func TestErrorsOfGrafana(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		body      string
		says      string
		permanent bool
		after     time.Duration
	}{
		"token":       {401, `{"message":"Invalid API key"}`, "looking up the annotation: GET api/annotations: Grafana answers 401 Unauthorized: Invalid API key", true, 0},
		"permission":  {403, `{"accessErrorId":"ACE1","message":"You'll need additional permissions to perform this action. Permissions needed: annotations:read","title":"Access denied"}`, "Permissions needed: annotations:read", true, 0},
		"down":        {503, `<html>canary`, "503", false, 7 * time.Second},
		"limited":     {429, `{"message":"slow down"}`, "429 Too Many Requests: slow down", false, 7 * time.Second},
		"a login":     {302, "", "302 Found", true, 0},
		"not Grafana": {200, "<html>", "not the expected JSON of Grafana", false, 0},
	} {
		s := newServer(t)
		s.Failing(t, test.status, "7", test.body)
		err := s.bind(t, "").Cleanup(t.Context(), at("u1", night))
		after, _ := cleanup.RetryDelay(err)
		if err == nil || !strings.Contains(err.Error(), test.says) || cleanup.IsPermanent(err) != test.permanent || after != test.after {
			t.Errorf("%s: %v, permanent %t, after %s", name, err, cleanup.IsPermanent(err), after)
		}
	}
}

// A proxy that answers a change with a page of its own has written nothing.
func TestAnAnswerOfAProxyIsNoSuccess(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPatch} {
		s := newServer(t)
		if method == http.MethodPatch {
			run(t, s.bind(t, ""), at("u1", night))
		}
		s.before = func(r *http.Request) {
			if r.Method == method {
				s.Failing(t, 200, "7", "<html>")
			}
		}
		if err := s.bind(t, ending).Cleanup(t.Context(), at("u1", after5)); err == nil || !strings.Contains(err.Error(), "a proxy may have answered") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestOptions(t *testing.T) {
	const token = `"token":{"secretKeyRef":{"name":"grafana","key":"token"}}`
	const all = `"url":"https://grafana.example.com/sub",` + token
	for options, want := range map[string]string{
		`"url":"https://a"`:                                  "token: is required",
		`"url":"https://a","token":"glsa_x"`:                 "token: must be in a Secret",
		token:                                                "url: is not a URL",
		token + `,"url":"https://u:p@a"`:                     "url: must not contain credentials",
		token + `,"url":"https://a/?orgId=2"`:                "url: must not have a query",
		all + `,"action":"start"`:                            `action: must be begin or end, not "start"`,
		all + `,"correlation":"a:b"`:                         `correlation: must have 1 to 63 letters`,
		all + `,"correlation":""`:                            `correlation: must have 1 to 63 letters`,
		all + `,"text":""`:                                   "text: must not be empty",
		all + `,"text":"${node.nam}"`:                        "text: has the unknown reference ${node.nam}",
		all + `,"tags":["a","b:c:d"]`:                        `tags[1]: must not have a second ":"`,
		all + `,"tags":[" a"]`:                               "tags[0]: must be KEY or KEY:VALUE",
		all + `,"tags":["a:"]`:                               "tags[0]: must be KEY or KEY:VALUE",
		all + `,"tags":["node-uid:u2"]`:                      "tags[0]: is set by the plugin",
		all + `,"tags":["` + strings.Repeat("x", 101) + `"]`: "tags[0]: must have a key and a value of at most 100 characters",
		all + `,"tags":["` + strings.Repeat(strings.Repeat("x", 99)+`","`, 5) + `y"]`: "tags: are too long",
		all + `,"panelID":3`:               "panelID: needs the option dashboardUID",
		all + `,"dashboardUID":"a/b"`:      "dashboardUID: must be the UID in the URL of a dashboard",
		all + `,"caBundle":"no PEM"`:       "caBundle: contains something other than PEM certificates",
		all + `,"tags":["cluster:prod"]`:   "",
		all + `,"action":"end","text":"x"`: "",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	for name, more := range map[string]string{"begin": "", "end": ending} {
		t.Run(name, func(t *testing.T) {
			s, values := newServer(t), plugintest.Secrets{"token": token}
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(s.Client(), values),
				Options:    s.options(more),
				Effects:    func(*testing.T) int { return s.count() },
				Hang:       func(t *testing.T, _ *corev1.Node) <-chan struct{} { return s.Hang(t) },
				Break:      func(t *testing.T) { s.Failing(t, http.StatusInternalServerError, "7", token) },
				Refuse:     func(t *testing.T) { s.Failing(t, http.StatusForbidden, "7", token) },
				Throttle:   s.Throttle,
				Unhealthy: func(t *testing.T) {
					delete(values, "token")
					t.Cleanup(func() { values["token"] = token })
				},
				Canary: "canary-71",
			})
		})
	}
}
