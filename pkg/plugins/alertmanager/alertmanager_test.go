package alertmanager

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const (
	byToken    = `"token":{"secretKeyRef":{"name":"alertmanager","key":"token"}}`
	byPassword = `"username":"ops","password":{"secretKeyRef":{"name":"alertmanager","key":"password"}}`
)

func stored() plugintest.Secrets {
	return plugintest.Secrets{"token": "canary-token", "password": "canary-password"}
}

func bind(t *testing.T, now clock.PassiveClock, root, options string) *plugin {
	t.Helper()
	bound, faults := Descriptor(http.DefaultClient, stored(), now).Bind([]byte(`{"url":"` + root + `"` + options + `}`))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return bound.(*plugin)
}

func (s *server) bind(t *testing.T, options string) *plugin {
	t.Helper()
	return bind(t, clock.RealClock{}, s.url, options)
}

// targetOf returns the target of a step for Node w1, which has these outputs.
func targetOf(step string, outputs map[string]map[string]string) cleanup.Target {
	recorded := maps.Clone(outputs)
	if recorded == nil {
		recorded = map[string]map[string]string{}
	}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1", UID: "uid-1", Labels: map[string]string{"ip": "10.0.0.1"}}},
		Step: step, Attempt: 1, Began: time.Now(), DeletedBy: "ann", Log: slog.New(slog.DiscardHandler), Outputs: recorded,
		Recorded: func(name, value string) error {
			recorded[step] = map[string]string{name: value}
			return nil
		},
	}
}

func cleanUp(t *testing.T, p *plugin, target cleanup.Target) {
	t.Helper()
	if err := p.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
}

// only returns the one silence that has not expired.
func (s *server) only() silence {
	s.t.Helper()
	all := s.silences()
	if len(all) != 1 {
		s.t.Fatalf("%d silences are active: %+v", len(all), all)
	}
	return all[0]
}

// near reports whether two times differ by less than a few seconds.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < 20*time.Second }

func TestAlertsOfTheNodeAreSilencedUntilTheEnd(t *testing.T) {
	s := start(t)
	node, other := map[string]string{"alertname": "NodeNotReady", "node": "w1"}, map[string]string{"alertname": "NodeNotReady", "node": "w10"}
	target := targetOf("silence", nil)
	cleanUp(t, s.bind(t, ""), target)
	if !s.silenced(node) || s.silenced(other) {
		t.Error("the silence does not select exactly the alerts of the node")
	}
	one := s.only()
	if one.CreatedBy != "nodecleanup" || one.Comment != "Cleanup of node w1, requested by ann (node UID uid-1)" || !near(one.EndsAt, time.Now().Add(4*time.Hour)) {
		t.Errorf("%+v", one)
	}
	if target.Outputs["silence"]["silenceID"] != one.ID {
		t.Errorf("the outputs are %v", target.Outputs)
	}
	end := s.bind(t, `,"action":"expire","gracePeriod":"0s"`)
	for range 2 {
		cleanUp(t, end, targetOf("end", target.Outputs))
	}
	if s.silenced(node) || s.changed() != 2+3 {
		t.Errorf("after %d changes, the alert is silenced: %t", s.changed(), s.silenced(node))
	}
}

// Each POST without an ID creates a silence, and one with another start replaces the silence.
func TestARepeatOrALaterStepExtendsTheSilence(t *testing.T) {
	s, now := start(t), testclock.NewFakePassiveClock(time.Now())
	p := bind(t, now, s.url, `,"duration":"2h"`)
	target := targetOf("silence", nil)
	cleanUp(t, p, target)
	first := s.only()
	cleanUp(t, p, targetOf("silence", nil)) // The agent was killed before it recorded the output.
	if s.only().ID != first.ID || s.changed() != 1 {
		t.Errorf("%d changes, %+v", s.changed(), s.only())
	}
	now.SetTime(now.Now().Add(time.Hour))
	cleanUp(t, p, target)
	if one := s.only(); one.ID != first.ID || !near(one.EndsAt, now.Now().Add(2*time.Hour)) || s.changed() != 2 {
		t.Errorf("after a retry: %d changes, %+v", s.changed(), one)
	}
	now.SetTime(now.Now().Add(time.Hour))
	cleanUp(t, p, targetOf("again", target.Outputs))
	if one := s.only(); one.ID != first.ID || !near(one.EndsAt, now.Now().Add(2*time.Hour)) || s.changed() != 3 {
		t.Errorf("after a later step: %d changes, %+v", s.changed(), one)
	}
	cleanUp(t, bind(t, now, s.url, `,"duration":"1m"`), targetOf("shorter", target.Outputs))
	if one := s.only(); one.ID != first.ID || !near(one.EndsAt, now.Now().Add(2*time.Hour)) || s.changed() != 3 {
		t.Errorf("a shorter duration: %d changes, %+v", s.changed(), one)
	}
}

func TestASilenceThatDisappearsIsCreatedAgain(t *testing.T) {
	s, now := start(t), testclock.NewFakePassiveClock(time.Now())
	p, target := bind(t, now, s.url, ""), targetOf("silence", nil)
	cleanUp(t, p, target)
	before := s.only()
	now.SetTime(now.Now().Add(time.Hour))
	// It is removed between the lookup and the update: Alertmanager gets an ID that it does not know.
	s.fail(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			s.mutex.Lock()
			s.intercept = nil
			s.mutex.Unlock()
			s.call(http.MethodDelete, "/api/v2/silence/"+before.ID, nil, nil)
			data, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			data = bytes.ReplaceAll(data, []byte(before.ID), []byte("6c9f4a57-5a5e-4f3b-8a49-0f7b1c1f2a10"))
			r.Body = io.NopCloser(bytes.NewReader(data)) // Of the same length.
		}
		return false
	})
	cleanUp(t, p, target)
	if one := s.only(); one.ID == before.ID || target.Outputs["silence"]["silenceID"] != one.ID {
		t.Errorf("%+v, outputs %v", one, target.Outputs)
	}
	// An expired one is not extended.
	s.call(http.MethodDelete, "/api/v2/silence/"+s.only().ID, nil, nil)
	cleanUp(t, p, target)
	s.only()
}

func TestChangedMatchersReplaceTheSilence(t *testing.T) {
	s, target := start(t), targetOf("silence", nil)
	p := s.bind(t, `,"matchers":["instance=~\"${node.labels.ip}:.*\""]`)
	cleanUp(t, p, target)
	target.Node.Labels["ip"] = "10.0.0.2"
	p.Duration.Duration = time.Hour
	cleanUp(t, p, target)
	if one := s.only(); !near(one.EndsAt, time.Now().Add(4*time.Hour)) || one.Matchers[0].Value != `10\.0\.0\.2:.*` || target.Outputs["silence"]["silenceID"] != one.ID {
		t.Errorf("%+v, outputs %v", one, target.Outputs)
	}
	// Another step has a silence of its own, although the filter of the lookup finds that of this step, too.
	narrow := `,"matchers":["node=\"${node.name}\"","severity=\"warning\""]`
	cleanUp(t, s.bind(t, narrow), targetOf("narrow", target.Outputs))
	cleanUp(t, s.bind(t, ""), targetOf("wide", target.Outputs))
	if all := s.silences(); len(all) != 3 {
		t.Errorf("%+v", all)
	}
}

func TestExpireEndsOnlyTheSilencesOfTheNode(t *testing.T) {
	s := start(t)
	before := targetOf("silence", nil) // The Node that had the name before.
	before.Node.UID = "uid-10"
	cleanUp(t, s.bind(t, ""), before)
	hours := time.Now().Add(time.Hour)
	s.call(http.MethodPost, "/api/v2/silences", silence{Matchers: s.only().Matchers, StartsAt: time.Now(), EndsAt: hours, CreatedBy: "ann", Comment: "mine (node UID uid-1)"}, nil)
	target := targetOf("silence", nil)
	cleanUp(t, s.bind(t, ""), target)
	hosts := targetOf("hosts", target.Outputs)
	cleanUp(t, s.bind(t, `,"matchers":["instance=~\"${node.labels.ip}:.*\""]`), hosts)
	target.Outputs["hosts"] = hosts.Outputs["hosts"]
	target.Outputs["other"] = map[string]string{"silenceID": "not a UUID"}
	target.Outputs["older"] = map[string]string{"silenceID": "6c9f4a57-5a5e-4f3b-8a49-0f7b1c1f2a10"}
	if all := s.silences(); len(all) != 4 {
		t.Fatalf("%+v", all)
	}
	end := s.bind(t, `,"action":"expire"`) // It does not have the matchers of the step hosts.
	began := time.Now().Add(-time.Minute)
	for range 2 {
		target := targetOf("end", target.Outputs)
		target.Began = began
		cleanUp(t, end, target)
	}
	foreign := 0
	for _, one := range s.silences() {
		switch {
		case one.CreatedBy == "ann" || strings.Contains(one.Comment, "uid-10)"):
			foreign++
			if one.EndsAt.Before(hours.Add(-time.Minute)) {
				t.Errorf("another silence was changed: %+v", one)
			}
		case !near(one.EndsAt, began.Add(5*time.Minute)):
			t.Errorf("it does not end after the grace period: %+v", one)
		}
	}
	if foreign != 2 || s.changed() != 4+2 {
		t.Errorf("%d changes, %+v", s.changed(), s.silences())
	}
	// The step is repeated after the grace period: an end in the past is not possible.
	late := targetOf("end", target.Outputs)
	late.Began = time.Now().Add(-time.Hour)
	cleanUp(t, end, late)
	if all := s.silences(); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}

func TestWithdrawExpiresAtOnce(t *testing.T) {
	s := start(t)
	target := targetOf("silence", nil)
	p := s.bind(t, "")
	cleanUp(t, p, target)
	target.Outputs = nil // Withdraw gets none.
	for range 2 {
		if err := p.Withdraw(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if all := s.silences(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	target.Node.Labels = nil
	if err := s.bind(t, `,"matchers":["instance=~\"${node.labels.ip}:.*\""]`).Withdraw(t.Context(), target); err != nil {
		t.Error(err)
	}
}

// Alertmanager 0.25 answers 500, later versions 404.
func TestExpiringAnUnknownSilenceSucceeds(t *testing.T) {
	s := start(t)
	const unknown = "6c9f4a57-5a5e-4f3b-8a49-0f7b1c1f2a10"
	if err := s.bind(t, "").expire(t.Context(), unknown); err != nil {
		t.Error(err)
	}
	s.answer(t, http.StatusNotFound, "")
	if err := s.bind(t, "").expire(t.Context(), unknown); err != nil {
		t.Error(err)
	}
	s.answer(t, http.StatusInternalServerError, `"disk full"`)
	if err := s.bind(t, "").expire(t.Context(), unknown); err == nil || !strings.Contains(err.Error(), "500 Internal Server Error: disk full") || cleanup.IsPermanent(err) {
		t.Error(err)
	}
}

func TestValuesOfLabelsAreLiteral(t *testing.T) {
	s, target := start(t), targetOf("silence", nil)
	target.Node.Labels["odd"] = `a"b\c.*`
	cleanUp(t, s.bind(t, `,"matchers":["instance=~\"${node.labels.ip}:91\\d+\"", "job!=\"x\""]`), target)
	odd := s.bind(t, `,"matchers":["zone=\"${node.labels.odd}\""]`)
	other := targetOf("other", nil)
	other.Node = target.Node
	cleanUp(t, odd, other)
	for instance, want := range map[string]bool{"10.0.0.1:9100": true, "10x0.0.1:9100": false, "10.0.0.1:80": false} {
		if s.silenced(map[string]string{"alertname": "A", "instance": instance}) != want {
			t.Errorf("instance %s: silenced is not %t", instance, want)
		}
	}
	other.Outputs = nil
	cleanUp(t, odd, other) // The filter finds it again.
	if all := s.silences(); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}

func TestAReferenceWithoutAValueSilencesNothing(t *testing.T) {
	s := start(t)
	for _, matcher := range []string{`instance=~"${node.labels.absent}:.*"`, `node="${node.labels.absent}"`, `node=~"${node.name}|${node.labels.absent:-}"`} {
		err := s.bind(t, fmt.Sprintf(`,"matchers":[%q]`, matcher)).Cleanup(t.Context(), targetOf("silence", nil))
		if err == nil || !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "would match alerts of other nodes") {
			t.Errorf("%s: %v", matcher, err)
		}
	}
	if all := s.silences(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestCredentialsAndCertificates(t *testing.T) {
	root, bundle := secured(t)
	quoted := fmt.Sprintf(`,"caBundle":%q`, bundle)
	if err := bind(t, clock.RealClock{}, root, quoted+","+byPassword).Cleanup(t.Context(), targetOf("silence", nil)); err != nil {
		t.Error(err)
	}
	for options, want := range map[string]string{
		quoted:                 "401 Unauthorized",
		"," + byPassword:       "the certificate is not trusted for this host",
		quoted + `,` + byToken: "401 Unauthorized",
	} {
		p := bind(t, clock.RealClock{}, root, options)
		if err := p.CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %s", err, want)
		}
	}

	s := start(t)
	s.fail(t, func(w http.ResponseWriter, r *http.Request) bool { // Alertmanager leaves tokens to a proxy.
		if r.Header.Get("Authorization") == "Bearer canary-token" {
			return false
		}
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	})
	if err := s.bind(t, ","+byToken).Cleanup(t.Context(), targetOf("silence", nil)); err != nil {
		t.Error(err)
	}
	if err := s.bind(t, "").CheckHealth(t.Context()); err == nil || !cleanup.IsPermanent(err) {
		t.Error(err)
	}
}

func TestPreview(t *testing.T) {
	for options, want := range map[string]string{
		"": `silence Alert node="w1" (for 4h0m0s, unless a later step extends or ends it)`,
		`,"action":"expire","matchers":["node=\"${node.name}\"","cluster=\"prod\""]`: `expire Silence node="w1", cluster="prod" (5m0s after the step)`,
		`,"action":"expire","gracePeriod":"0s"`:                                      `expire Silence node="w1" (now)`,
	} {
		effects, err := bind(t, nil, "http://a", options).Preview(t.Context(), targetOf("silence", nil))
		if err != nil || len(effects) != 1 || effects[0].String() != want {
			t.Errorf("%s: %v, %v", options, effects, err)
		}
	}
}

func TestOptions(t *testing.T) {
	const missing = `matchers: one of them must select the alerts of the Node`
	for options, want := range map[string]string{
		`"url":"alertmanager:9093"`:                                     "url: is not a URL that starts with http:// or https://",
		`"url":"http://ops:canary@a"`:                                   "url: must have no user, query or fragment",
		`"action":"delete"`:                                             `action: must be silence or expire, not "delete"`,
		`"duration":"30s"`:                                              "duration: must be from 1m0s to 168h0m0s, not 30s",
		`"gracePeriod":"-1s"`:                                           "gracePeriod: must be from 0s to 24h0m0s, not -1s",
		`"token":"canary"`:                                              "token: must be in a Secret",
		byToken + "," + byPassword:                                      "token: cannot be combined with username and password",
		`"username":"ops"`:                                              "password: must be set together with username",
		`"caBundle":"x"`:                                                "caBundle: contains something other than PEM certificates",
		`"matchers":[]`:                                                 missing,
		`"matchers":["alertname=\"NodeDown\""]`:                         missing,
		`"matchers":["node!=\"${node.name}\""]`:                         missing,
		`"matchers":["node!~\"${node.name}\""]`:                         missing,
		`"matchers":["node=${node.name}"]`:                              "matchers[0]: can have references only inside the quotation marks",
		`"matchers":["${node.name}=\"a\""]`:                             "matchers[0]: can have references only inside the quotation marks",
		`"matchers":["node=\"${node.name}\" x"]`:                        `matchers[0]: must be NAME="VALUE", with one of the operators =, !=, =~ and !~`,
		`"matchers":["node=\"${node.name}\"\""]`:                        `matchers[0]: must be NAME="VALUE"`,
		`"matchers":["node=\"${node.name}\"","a=\"\""]`:                 "matchers[1]: matches every alert without the label a",
		`"matchers":["node=~\"${node.name}|\""]`:                        "matchers[0]: matches every alert without the label node",
		`"matchers":["node=\"${node.name}\"","a=~\".*\""]`:              "matchers[1]: matches every alert without the label a",
		`"matchers":["node=~\"(${node.name}\""]`:                        "matchers[0]: has a regular expression that is not valid",
		`"matchers":["node=\"${steps.a.outputs.name}\""]`:               "matchers[0]: ${steps.a.outputs.name}: a matcher can refer only to the Node",
		`"matchers":["node=\"${node.name}\"","a=\"${run.deletedBy}\""]`: "matchers[1]: ${run.deletedBy}: a matcher can refer only to the Node",
		`"matchers":["node=\"${node.nam}\""]`:                           "matchers[0]: has the unknown reference ${node.nam}",
	} {
		if !strings.Contains(options, `"url"`) {
			options = `"url":"http://a",` + options
		}
		_, faults := Descriptor(nil, nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); len(faults) != 1 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestMatchers(t *testing.T) {
	for text, want := range map[string]string{
		`node="a"`:           `node="a"`,
		` node =~ "10\.0.+"`: `node=~"10\\.0.+"`,
		`a!="b\"c\\d\n"`:     `a!="b\"c\\d\n"`,
		`a!~"b|c"`:           `a!~"b|c"`,
		`a!=""`:              `a!=""`,
	} {
		m, err := parseMatcher(text)
		if err != nil || m.String() != want {
			t.Errorf("%s: %s, %v", text, m, err)
		}
		if again, err := parseMatcher(m.String()); err != nil || again != m {
			t.Errorf("%s is read as %+v, %v, want %+v", m, again, err, m)
		}
	}
	for _, text := range []string{`node`, `node="a`, `node='a'`, `node=="a"`, `n-o="a"`, `node="a""`, `node="a" b="c"`, `node="a\"`} {
		if m, err := parseMatcher(text); err == nil {
			t.Errorf("%s is read as %+v", text, m)
		}
	}
}

func TestConformance(t *testing.T) {
	for _, action := range []string{actionSilence, actionExpire} {
		t.Run(action, func(t *testing.T) {
			s, values := start(t), stored()
			suite := plugintest.Suite{
				Descriptor: Descriptor(http.DefaultClient, values, clock.RealClock{}),
				Options:    fmt.Sprintf(`{"url":%q,"action":%q,%s}`, s.url, action, byToken),
				Effects:    func(*testing.T) int { return s.changed() },
				Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
					waiting := make(chan struct{})
					s.fail(t, func(_ http.ResponseWriter, r *http.Request) bool {
						close(waiting)
						<-r.Context().Done()
						return true
					})
					return waiting
				},
				Break:    func(t *testing.T) { s.answer(t, http.StatusInternalServerError, "canary") },
				Refuse:   func(t *testing.T) { s.answer(t, http.StatusForbidden, "the token canary-token is unknown") },
				Throttle: func(t *testing.T) time.Duration { s.answer(t, http.StatusTooManyRequests, ""); return 7 * time.Second },
				Unhealthy: func(t *testing.T) {
					delete(values, "token")
					t.Cleanup(func() { values["token"] = stored()["token"] })
				},
				Canary: "canary-token",
			}
			if action == actionExpire {
				suite.Node = func(t *testing.T, name string) *corev1.Node {
					target := targetOf("silence", nil)
					target.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}}
					cleanUp(t, s.bind(t, ""), target)
					s.mutex.Lock()
					s.changes-- // It is not an effect of the step.
					s.mutex.Unlock()
					return target.Node
				}
			}
			plugintest.Run(t, suite)
		})
	}
}
