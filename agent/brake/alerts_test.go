package brake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type oneSecret struct{}

func (oneSecret) Secret(_ context.Context, key cleanup.SecretKey) (string, error) {
	if key != (cleanup.SecretKey{Name: "prometheus", Key: "token"}) {
		return "", errors.New("there is no such secret")
	}
	return "t0ken\n", nil
}

func keep(text string) string { return text }

// A server that gets the token can send it back, and anything else.
func TestPrometheusErrorsAreShortenedAndRedacted(t *testing.T) {
	long := strings.Repeat("t0ken", 1<<20)
	for name, handler := range map[string]http.HandlerFunc{
		"a long status":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"status":%q}`, long) },
		"the token as a status": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"t0ken"}`) },
		"a redirect": func(w http.ResponseWriter, request *http.Request) {
			http.Redirect(w, request, "http://127.0.0.1:1/t0ken", http.StatusFound)
		},
		"another form": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"status":"success","data":%q}`, long) },
		"alerts of another form": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"alerts":[["t0ken"]]}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			prometheus := Prometheus{server.Client(), oneSecret{}, func(text string) string { return strings.ReplaceAll(text, "t0ken", "[secret]") }}
			firing, err := prometheus.firing(t.Context(), config.Alerts{URL: server.URL, Names: []string{"EtcdDown"}, BearerToken: cleanup.FromSecret("prometheus", "token")})
			if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "t0ken") {
				t.Errorf("%q fire, the error has %d bytes: %.1000v", firing, len(fmt.Sprint(err)), err)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// Alerts that arrive after the end of a leadership must not reach the next one.
func TestRunWaitsForTheReadOfTheAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBrake(t, fake.NewClientset())
		b.Config = func() *config.Config {
			return &config.Config{Brake: config.Brake{Alerts: config.Alerts{URL: "http://prometheus", Names: []string{"EtcdDown"}}}}
		}
		reading, answer := make(chan struct{}), make(chan struct{})
		b.Prometheus = Prometheus{Redact: keep, Client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			close(reading)
			<-answer
			return nil, errors.New("the server ended")
		})}}
		ctx, cancel := context.WithCancel(t.Context())
		returned := false
		go func() {
			if err := b.Run(ctx, func() {}); err != nil {
				t.Error(err)
			}
			returned = true
		}()
		<-reading
		cancel()
		synctest.Wait()
		if returned {
			t.Error("Run returned during a read of the alerts")
		}
		close(answer)
		synctest.Wait()
		if !returned {
			t.Error("Run did not return after the read of the alerts")
		}
	})
}

// All alerts of a long answer, decoded at once, take more memory than the agent may have.
func TestAlertsAreDecodedOneAfterTheOther(t *testing.T) {
	answer := strings.NewReader(`{"status":"success","data":{"alerts":[1` + strings.Repeat(`,{}`, maxResponse/3))
	if _, err := decodeAlerts(answer, []string{"EtcdDown"}); err == nil {
		t.Error("an alert that is a number is not an error")
	}
	if read := answer.Size() - int64(answer.Len()); read > 64<<10 {
		t.Errorf("%d bytes were read before the first alert was decoded", read)
	}
}

func TestAlertsOfPrometheus(t *testing.T) {
	const alerts = `{"status":"success","data":{"alerts":[
		{"labels":{"alertname":"EtcdDown","pod":"etcd-1"},"state":"firing","activeAt":"2026-01-31T04:00:00Z","value":"1e+00"},
		{"labels":{"alertname":"EtcdDown","pod":"etcd-2"},"state":"firing"},
		{"labels":{"alertname":"KubeAPIDown"},"state":"pending"},
		{"labels":{"alertname":"Watchdog"},"state":"firing"}]}}`
	for name, test := range map[string]struct {
		status int
		body   string
		key    string
		want   []string
		fails  string
	}{
		"two that fire, of one name":   {http.StatusOK, alerts, "token", []string{"EtcdDown"}, ""},
		"none":                         {http.StatusOK, `{"status":"success","data":{"alerts":[]}}`, "token", []string{}, ""},
		"an error":                     {http.StatusOK, `{"status":"error"}`, "token", nil, `status "error"`},
		"no Prometheus":                {http.StatusNotFound, "", "token", nil, "404 Not Found"},
		"an answer that is not JSON":   {http.StatusOK, "<html>", "token", nil, "invalid character"},
		"a Secret that does not exist": {http.StatusOK, alerts, "other", nil, "there is no such secret"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if request.URL.Path != "/prometheus/api/v1/alerts" || request.Header.Get("Authorization") != "Bearer t0ken" {
					t.Errorf("the request is %s with %q", request.URL, request.Header.Get("Authorization"))
				}
				w.WriteHeader(test.status)
				if _, err := w.Write([]byte(test.body)); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			firing, err := Prometheus{server.Client(), oneSecret{}, keep}.firing(t.Context(), config.Alerts{
				URL: server.URL + "/prometheus/", Names: []string{"KubeAPIDown", "EtcdDown"}, BearerToken: cleanup.FromSecret("prometheus", test.key),
			})
			if !slices.Equal(firing, test.want) {
				t.Errorf("%q fire, want %q", firing, test.want)
			}
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("the error is %v, want %q", err, test.fails)
			}
		})
	}
}

func TestAlertsEngageTheBrake(t *testing.T) {
	f := newFleet(t, config.Brake{Alerts: config.Alerts{Names: []string{"EtcdDown", "KubeAPIDown"}}, ReleaseAfter: 10 * time.Minute})
	fires := func(alerts ...string) { f.state.firing, f.state.alertsRead = alerts, true }
	f.wants("before the alerts are read", false, f.after(0))
	fires("EtcdDown")
	reason := f.after(0)
	f.wants("when an alert fires", true, reason)
	if !strings.HasSuffix(reason, ": alerts are firing: EtcdDown") {
		t.Errorf("a node waits because %q", reason)
	}
	f.wants("as long as it fires", true, f.after(time.Hour))
	fires()
	f.wants("when it was a while ago", true, f.after(9*time.Minute))
	f.wants("when it was longer ago", false, f.after(2*time.Minute))

	// A resume is for the alerts that fire, until they stop.
	fires("EtcdDown")
	f.wants("when it fires again", true, f.after(time.Minute))
	f.state.pause = api.Pause{By: "alice", At: f.now}
	f.wants("after a resume", false, f.after(time.Hour))
	fires("EtcdDown", "KubeAPIDown")
	f.wants("when another one fires", true, f.after(0))
	f.state.pause.At = f.now
	f.wants("after another resume", false, f.after(time.Minute))
	// The next leader has not read them yet.
	f.state.firing, f.state.alertsRead = nil, false
	f.after(time.Minute)
	fires("EtcdDown", "KubeAPIDown")
	f.wants("on another leader", false, f.after(time.Minute))
	fires()
	f.after(0)
	fires("KubeAPIDown")
	f.wants("when one fires again that had stopped", true, f.after(0))
}

func TestLastAlertsCountWhilePrometheusIsDown(t *testing.T) {
	f := newFleet(t, config.Brake{Alerts: config.Alerts{Names: []string{"EtcdDown"}}, ReleaseAfter: time.Minute})
	f.state.firing, f.state.alertsRead = []string{"EtcdDown"}, true
	f.after(time.Minute)
	// A restart, and Prometheus does not answer.
	f.state.firing, f.state.alertsRead = nil, false
	f.wants("an hour later", true, f.after(time.Hour))
}
