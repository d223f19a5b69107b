package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

const canary = "canary-77aa"

// tickets is a service that does everything right.
type tickets struct {
	mutex sync.Mutex
	calls map[string]int
	// again: each request about the same work opens a new ticket.
	again bool
	// fails is the message of each answer.
	fails string
	// forgets: the finished work is undone.
	forgets bool
	// previews: a preview does the work.
	previews bool
	outputs  map[string]string
	// sends counts the messages, twice: a repeated message is a new one.
	sends int
	twice bool
}

func (s *tickets) Notify(_ context.Context, notification *webhookplugin.Notification) (string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.sends++
	if s.twice {
		return fmt.Sprint("message ", s.sends), nil
	}
	return "of " + notification.Key, nil
}

func (s *tickets) Cleanup(_ context.Context, request *webhookplugin.Request) (webhookplugin.Answer, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.fails != "" {
		return webhookplugin.FailedPermanently(s.fails), nil
	}
	s.calls[request.Node.UID]++
	if s.calls[request.Node.UID] == 1 {
		return webhookplugin.InProgress("the ticket waits for approval", 1), nil
	}
	if s.outputs != nil {
		return webhookplugin.Done(s.outputs), nil
	}
	number := "CHG-" + request.Node.UID
	if s.again {
		number = fmt.Sprint("CHG-", s.calls[request.Node.UID])
	}
	return webhookplugin.Done(map[string]string{"number": number}), nil
}

func (s *tickets) Preview(_ context.Context, request *webhookplugin.Request) ([]webhookplugin.Effect, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.previews {
		s.calls[request.Node.UID] = 2
	}
	return []webhookplugin.Effect{{Action: "Open", Object: &webhookplugin.Object{Kind: "Ticket", Name: "CHG-" + request.Node.UID}}}, nil
}

func (s *tickets) Verify(_ context.Context, request *webhookplugin.Request) (string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.calls[request.Node.UID] < 2 || s.forgets {
		return "there is no ticket", nil
	}
	return "", nil
}

// test runs the checks against a service behind a handler.
func test(t *testing.T, service webhookplugin.Service, with func(http.Handler) http.Handler) map[string]Result {
	t.Helper()
	handler := webhookplugin.Handler(service, webhookplugin.Options{Name: "tickets", Version: "1", Token: canary, HMACSecret: []byte("secret-" + canary)})
	if with != nil {
		handler = with(handler)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	base, err := url.Parse(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]Result{}
	for _, result := range Run(t.Context(), Options{
		URL: base, Token: canary, HMACSecret: []byte("secret-" + canary),
		After: func(time.Duration) <-chan time.Time { return time.After(0) },
	}) {
		results[result.ID] = result
	}
	return results
}

func good() *tickets { return &tickets{calls: map[string]int{}} }

func TestGoodServicePassesEveryCheck(t *testing.T) {
	results := test(t, good(), nil)
	if len(results) != len(Checks()) {
		t.Errorf("%d results of %d checks", len(results), len(Checks()))
	}
	for id, result := range results {
		if result.Outcome != Passed {
			t.Errorf("%s: %s: %s", id, result.Outcome, result.Detail)
		}
	}
}

// minimal is a service without optional abilities.
type minimal struct{ webhookplugin.Service }

func TestMinimalServiceSkipsAbilities(t *testing.T) {
	for id, result := range test(t, minimal{good()}, nil) {
		want := Passed
		if slices.Contains([]string{"preview", "verify", "notify"}, id) {
			want = Skipped
		}
		if result.Outcome != want {
			t.Errorf("%s: %s: %s", id, result.Outcome, result.Detail)
		}
	}
}

// rewrite changes the answers of a path.
func rewrite(path string, change func(status int, body string) (int, string)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, request)
			status, body := recorded.Code, recorded.Body.String()
			if path == "" || request.URL.Path == path {
				status, body = change(status, body)
			}
			writer.Header().Set("Content-Type", recorded.Header().Get("Content-Type"))
			writer.WriteHeader(status)
			fmt.Fprint(writer, body)
		})
	}
}

func TestEachFaultIsFound(t *testing.T) {
	replace := func(old, with string) func(int, string) (int, string) {
		return func(status int, body string) (int, string) { return status, strings.ReplaceAll(body, old, with) }
	}
	always := func(status int, body string) func(int, string) (int, string) {
		return func(int, string) (int, string) { return status, body }
	}
	for name, one := range map[string]struct {
		service webhookplugin.Service
		with    func(http.Handler) http.Handler
		check   string
		outcome Outcome
		says    string
	}{
		"another version":      {good(), rewrite("/v1/", replace(`["v1"]`, `["v2"]`)), "discovery", Failed, `versions ["v2"] lacks v1`},
		"another ability":      {good(), rewrite("/v1/", replace(`"preview"`, `"fly"`)), "discovery", Warning, `no ability "fly"`},
		"no discovery":         {good(), rewrite("/v1/", always(404, "not found")), "discovery", Failed, "404 Not Found"},
		"unhealthy":            {good(), rewrite("/v1/health", always(503, `{"message":"no database"}`)), "health", Failed, "503 Service Unavailable: no database"},
		"open":                 {good(), ignoreCredentials, "authentication", Failed, "a request with a signature by another secret is answered with 400"},
		"takes everything":     {good(), rewrite("/v1/cleanup", always(200, `{"state":"Done"}`)), "malformed", Failed, "a body that is not JSON is answered with 200"},
		"breaks":               {good(), rewrite("/v1/cleanup", func(status int, body string) (int, string) { return max(status, 500), body }), "malformed", Failed, "500"},
		"fails":                {&tickets{fails: "the disk is full"}, nil, "cleanup", Failed, "the service failed: the disk is full"},
		"a state of its own":   {good(), rewrite("/v1/cleanup", replace(`"Done"`, `"Finished"`)), "cleanup", Failed, `state is "Finished"`},
		"outputs of two lines": {&tickets{calls: map[string]int{}, outputs: map[string]string{"a": "b\nc"}}, nil, "cleanup", Failed, "recording output a: the value is not one line"},
		"strict":               {good(), strict, "unknown-fields", Failed, "400 Bad Request: unknown field"},
		"a second ticket":      {&tickets{calls: map[string]int{}, again: true}, nil, "idempotency", Failed, `output number is "CHG-2" the first time and "CHG-3" the second time`},
		"forgets":              {&tickets{calls: map[string]int{}, forgets: true}, nil, "verify", Failed, "there is no ticket"},
		"proves nothing":       {good(), rewrite("/v1/verify", replace("there is no ticket", "")), "verify", Warning, "so it may prove nothing"},
		"preview works":        {&tickets{calls: map[string]int{}, previews: true}, nil, "preview", Failed, `before the preview, verify says "there is no ticket", and afterwards ""`},
		"sends twice":          {&tickets{calls: map[string]int{}, twice: true}, nil, "notify", Failed, `the same id again has the reference "message 2", and the first time "message 1"`},
		"no messages":          {good(), rewrite("/v1/notify", always(404, "not found")), "notify", Failed, "404 Not Found"},
		"lower case":           {good(), rewrite("/v1/preview", replace(`"Open"`, `"open it"`)), "preview", Failed, `the action of an effect is "open it"`},
		"large":                {good(), rewrite("/v1/health", always(200, strings.Repeat(" ", webhookplugin.MaxAnswer+1))), "answers", Failed, "the answer of GET /v1/health is larger than 64 KiB"},
		"a secret":             {good(), rewrite("/v1/health", always(200, `{"message":"token `+canary+`"}`)), "answers", Failed, "contains the token"},
		"escapes":              {good(), rewrite("/v1/health", always(200, `{"message":"\u001b[31mred"}`)), "answers", Failed, "has a control character"},
		"redirect":             {good(), rewrite("/v1/health", always(302, "")), "answers", Failed, "redirected"},
		"silent":               {good(), rewrite("/v1/cleanup", replace("the ticket waits for approval", "")), "answers", Failed, "InProgress has no message"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // A server waits for half a second after it has refused a large request.
			result := test(t, one.service, one.with)[one.check]
			if result.Outcome != one.outcome || !strings.Contains(result.Detail, one.says) {
				t.Errorf("%s: %s: %s, want %q", one.check, result.Outcome, result.Detail, one.says)
			}
		})
	}
}

// ignoreCredentials signs each request again, so that the service takes it.
func ignoreCredentials(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		webhookplugin.Sign(request, body, []byte("secret-"+canary), time.Now())
		next.ServeHTTP(writer, request)
	})
}

// strict refuses requests with unknown fields.
func strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&webhookplugin.Request{}); err != nil && strings.Contains(err.Error(), "unknown field") {
			writer.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(writer, `{"message":"unknown field"}`)
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(writer, request)
	})
}

// endless is a service whose work does not end.
type endless struct{}

func (endless) Cleanup(context.Context, *webhookplugin.Request) (webhookplugin.Answer, error) {
	return webhookplugin.InProgress("waiting for approval", 1), nil
}

func TestWorkThatDoesNotEndIsReported(t *testing.T) {
	server := httptest.NewServer(webhookplugin.Handler(endless{}, webhookplugin.Options{Name: "endless"}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := Run(ctx, Options{URL: base, After: func(time.Duration) <-chan time.Time { cancel(); return nil }})
	at := slices.IndexFunc(results, func(result Result) bool { return result.ID == "cleanup" })
	if result := results[at]; result.Outcome != Failed || !strings.Contains(result.Detail, "still in progress after 0s (waiting for approval)") || !strings.Contains(result.Fix, "--timeout") {
		t.Errorf("%s: %s, fix %s", result.Outcome, result.Detail, result.Fix)
	}
	if last := results[at+1]; last.Outcome != Skipped {
		t.Errorf("%s: %s: %s", last.ID, last.Outcome, last.Detail)
	}
}

// A service that works refuses a test without its credentials. The fix is not in the service.
func TestRefusedCredentialsAreNotAFaultOfTheAnswers(t *testing.T) {
	server := httptest.NewServer(webhookplugin.Handler(good(), webhookplugin.Options{Name: "tickets", Token: canary}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{"": "--token-file", "wrong": "the same credentials"} {
		for _, result := range Run(t.Context(), Options{URL: base, Token: token})[:2] {
			if result.Outcome != Failed || !strings.Contains(result.Fix, want) {
				t.Errorf("token %q: %s: %s: %s, fix %q", token, result.ID, result.Outcome, result.Detail, result.Fix)
			}
		}
	}
}

// The service sees each request that is counted.
func TestEveryRequestOfTheCleanupIsCounted(t *testing.T) {
	service := good()
	if detail := test(t, service, nil)["cleanup"].Detail; !strings.HasPrefix(detail, "requests: 2 within ") {
		t.Errorf("the work is done by the second request, but: %s", detail)
	}
}
