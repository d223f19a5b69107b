package brake

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type answers int

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	recorder.WriteHeader(int(a))
	return recorder.Result(), nil
}

func send(t *testing.T, requests *Requests, times, status int, path string) {
	t.Helper()
	for range times {
		if _, err := requests.Wrap(answers(status)).RoundTrip(httptest.NewRequest(http.MethodGet, "https://api"+path, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestsAreCounted(t *testing.T) {
	clock := clocktesting.NewFakeClock(started)
	requests := NewRequests(clock)
	const path = "/api/v1/nodes"
	send(t, requests, 3, http.StatusServiceUnavailable, path)
	clock.Step(10 * time.Second)
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusConflict, http.StatusForbidden} {
		send(t, requests, 1, status, path)
	}
	send(t, requests, 1, http.StatusTooManyRequests, path)
	send(t, requests, 1, http.StatusInternalServerError, path)
	// A budget that blocks a drain is no trouble of the API server.
	send(t, requests, 50, http.StatusTooManyRequests, "/api/v1/namespaces/shop/pods/cart-0/eviction")
	for _, test := range []struct {
		since        time.Duration
		refused, all int
	}{{time.Minute, 5, 9}, {5 * time.Second, 2, 6}, {0, 0, 0}} {
		if refused, all := requests.since(clock.Now().Add(-test.since)); refused != test.refused || all != test.all {
			t.Errorf("in the last %s %d of %d were refused, want %d of %d", test.since, refused, all, test.refused, test.all)
		}
	}
	clock.Step(config.LongestOver)
	send(t, requests, 1, http.StatusOK, path)
	if seconds := len(requests.seconds); seconds != 2 {
		t.Errorf("%d seconds are stored, want the 2 that count", seconds)
	}
}

func TestRefusedRequestsEngageTheBrake(t *testing.T) {
	rules := config.Brake{APIServerErrors: config.APIServerErrors{Percent: 50, Over: time.Minute}, ReleaseAfter: 10 * time.Minute}
	f := newFleet(t, rules)
	send(t, f.requests, 100, http.StatusOK, "/")
	f.after(time.Hour)
	send(t, f.requests, minRequests-1, http.StatusServiceUnavailable, "/")
	f.wants("after a few requests", false, f.after(0))
	send(t, f.requests, 1, http.StatusTooManyRequests, "/")
	reason := f.after(0)
	f.wants("after more of them", true, reason)
	want := fmt.Sprintf("20 of 20 API requests failed with 429 or 5xx since %s (limit 50%%)", f.clock.Now().Add(-rules.APIServerErrors.Over).UTC().Format(time.RFC3339))
	if !strings.HasSuffix(reason, want) {
		t.Errorf("a node waits because %q, want %q", reason, want)
	}
	f.after(9 * time.Minute)
	send(t, f.requests, 30, http.StatusServiceUnavailable, "/")
	f.wants("10 minutes after the first ones", true, f.after(5*time.Minute))
	f.wants("when the last ones were in the last 10 minutes", true, f.after(5*time.Minute))
	f.wants("10 minutes after the last ones have been more than a minute ago", false, f.after(time.Minute))

	send(t, f.requests, 30, http.StatusServiceUnavailable, "/")
	f.wants("after others", true, f.after(0))
	f.state.pause.By, f.state.pause.At = "alice", f.now
	f.wants("after a resume", false, f.after(0))
	f.wants("with the same requests", false, f.after(30*time.Second))
	send(t, f.requests, 60, http.StatusOK, "/")
	send(t, f.requests, 60, http.StatusServiceUnavailable, "/")
	f.wants("with as many as the share allows", false, f.after(0))
	send(t, f.requests, 1, http.StatusServiceUnavailable, "/")
	f.wants("with one more", true, f.after(0))
}
