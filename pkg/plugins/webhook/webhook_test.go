package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

const canary = "canary-5b1e"

// instant is a clock whose timers fire at once. It records how long they were.
type instant struct {
	*testingclock.FakeClock
	mutex sync.Mutex
	waits []time.Duration
}

func newInstant() *instant { return &instant{FakeClock: testingclock.NewFakeClock(time.Now())} }

func (i *instant) NewTimer(d time.Duration) clock.Timer {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.waits = append(i.waits, d)
	return clock.RealClock{}.NewTimer(0)
}

func bind(t *testing.T, stored plugintest.Secrets, time *instant, options map[string]any) cleanup.Plugin {
	t.Helper()
	data, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	plugin, faults := Descriptor(nil, stored, time).Bind(data)
	if faults != nil {
		t.Fatal(faults)
	}
	return plugin
}

// reports are what a plugin reports by a target.
type reports struct {
	progress []string
	counts   []cleanup.Counts
	outputs  map[string]string
}

func target() (cleanup.Target, *reports) {
	reported := &reports{outputs: map[string]string{}}
	deleted := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	return cleanup.Target{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: "worker", UID: "u", Labels: map[string]string{"zone": "a"}, DeletionTimestamp: &deleted,
				Annotations: map[string]string{"owner": "shop", corev1.LastAppliedConfigAnnotation: "{}"},
			},
			Spec: corev1.NodeSpec{ProviderID: "p", Taints: []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}},
			Status: corev1.NodeStatus{
				Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}},
				NodeInfo:  corev1.NodeSystemInfo{SystemUUID: "s"},
			},
		},
		Step: "ticket", DeletedBy: "jane", Attempt: 2, Began: deleted.Time, IdempotencyKey: "u/ticket", Log: slog.New(slog.DiscardHandler),
		Progress: func(text string) { reported.progress = append(reported.progress, text) },
		Counted:  func(counts cleanup.Counts) { reported.counts = append(reported.counts, counts) },
		Outputs:  map[string]map[string]string{"backup": {"id": "7"}},
		Recorded: func(name, value string) error { reported.outputs[name] = value; return nil },
	}, reported
}

// serve answers each request with the next of these answers, and then with the last one.
func serve(t *testing.T, answers ...string) (url string, bodies *[]string) {
	bodies = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		data, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		*bodies = append(*bodies, request.Method+" "+request.URL.Path+" "+string(data))
		fmt.Fprint(writer, answers[min(len(*bodies), len(answers))-1])
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

func TestRequestDescribesTheNodeAndTheRun(t *testing.T) {
	url, bodies := serve(t, `{"state":"Done"}`)
	one, _ := target()
	if err := bind(t, nil, newInstant(), map[string]any{"url": url + "/base/", "params": map[string]any{"team": "shop", "size": 12345678901234567}}).Cleanup(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	sent, cut := strings.CutPrefix((*bodies)[0], "POST /base/v1/cleanup ")
	var got, want any
	if err := json.Unmarshal([]byte(sent), &got); err != nil || !cut {
		t.Fatalf("%v in %s", err, (*bodies)[0])
	}
	if err := json.Unmarshal([]byte(`{"idempotencyKey":"u/ticket","attempt":2,"began":"2026-01-31T04:00:00Z","step":"ticket","deletedBy":"jane",
		"node":{"name":"worker","uid":"u","createdAt":"0001-01-01T00:00:00Z","deletedAt":"2026-01-31T04:00:00Z","labels":{"zone":"a"},
			"annotations":{"owner":"shop"},"providerID":"p","taints":[{"key":"k","value":"v","effect":"NoSchedule"}],
			"addresses":[{"type":"InternalIP","address":"10.0.0.7"}],"info":{"systemUUID":"s"}},
		"outputs":{"backup":{"id":"7"}},"params":{"team":"shop","size":12345678901234567}}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("sent %s", sent)
	}
	if !strings.Contains(sent, `"size":12345678901234567`) {
		t.Errorf("a large number was rounded: %s", sent)
	}
}

func TestProgressIsReportedUntilTheWorkIsDone(t *testing.T) {
	url, bodies := serve(t,
		`{"state":"InProgress","message":"ticket CHG-1 waits for approval","outputs":{"number":"CHG-1"}}`,
		`{"state":"InProgress","message":"deleting records","progress":{"done":1,"total":3},"retryAfterSeconds":7,"outputs":{"number":"CHG-1"}}`,
		`{"state":"InProgress","retryAfterSeconds":9999999999}`,
		`{"state":"Done","outputs":{"number":"CHG-1","closed":"yes"}}`)
	one, reported := target()
	recorded := 0
	record := one.Recorded
	one.Recorded = func(name, value string) error { recorded++; return record(name, value) }
	now := newInstant()
	if err := bind(t, nil, now, map[string]any{"url": url}).Cleanup(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ticket CHG-1 waits for approval", "deleting records", "waiting for " + url}; !slices.Equal(reported.progress, want) {
		t.Errorf("reported %q", reported.progress)
	}
	if want := []cleanup.Counts{{Done: 1, Total: 3}}; !reflect.DeepEqual(reported.counts, want) {
		t.Errorf("counted %v", reported.counts)
	}
	if want := []time.Duration{webhookplugin.DefaultPollInterval, 7 * time.Second, webhookplugin.MaxPollInterval}; !slices.Equal(now.waits, want) {
		t.Errorf("waited %v", now.waits)
	}
	if want := map[string]string{"number": "CHG-1", "closed": "yes"}; !maps.Equal(reported.outputs, want) || recorded != 2 {
		t.Errorf("recorded %v in %d calls", reported.outputs, recorded)
	}
	if last := (*bodies)[3]; !strings.Contains(last, `"ticket":{"number":"CHG-1"}`) {
		t.Errorf("the next request lacks the output: %s", last)
	}
	if one.Outputs["ticket"] != nil {
		t.Error("the plugin changed the outputs of the target")
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		header    map[string]string
		body      string
		done      bool
		permanent bool
		after     time.Duration
		says      string
	}{
		"done":              {status: 200, body: `{"state":"Done"}`, done: true},
		"done, newer field": {status: 201, body: `{"state":"Done","later":1}`, done: true},
		"failed":            {status: 200, body: `{"state":"Failed","message":"the database\n is full\u001b[31m\u0000"}`, says: "the database is full[31m"},
		"failed, later":     {status: 200, body: `{"state":"Failed","message":"busy","retryAfterSeconds":90}`, after: 90 * time.Second, says: "busy"},
		"rejected":          {status: 200, body: `{"state":"Failed","message":"change freeze","permanent":true}`, permanent: true, says: "change freeze"},
		"silent":            {status: 200, body: `{"state":"Failed"}`, says: "without a message"},
		"another server":    {status: 200, body: `<html>welcome</html>`, says: "the answer is not valid: it is not valid JSON of this protocol"},
		"empty":             {status: 200, says: "the answer is not valid"},
		"no content":        {status: 204, says: "the answer is not valid"},
		"no state":          {status: 200, body: `{}`, says: "the answer is not valid: state is missing"},
		"unknown state":     {status: 200, body: `{"state":"Maybe"}`, says: `state is "Maybe", not Done, InProgress or Failed`},
		"backwards":         {status: 200, body: `{"state":"InProgress","retryAfterSeconds":-1}`, says: "retryAfterSeconds is -1"},
		"more than all":     {status: 200, body: `{"state":"InProgress","progress":{"done":4,"total":3}}`, says: "progress is 4 of 3"},
		"busy":              {status: 429, header: map[string]string{"Retry-After": "7"}, after: 7 * time.Second, says: "429 Too Many Requests"},
		"unavailable":       {status: 503, body: `{"message":"starting"}`, says: "503 Service Unavailable: starting"},
		"plain text":        {status: 500, body: "out of\n disk\x00", says: "500 Internal Server Error: out of disk"},
		"refused":           {status: 401, body: `{"message":"no token"}`, permanent: true, says: "401 Unauthorized: no token"},
		"redirect":          {status: 307, header: map[string]string{"Location": "http://169.254.169.254/latest/meta-data"}, permanent: true, says: "307 Temporary Redirect"},
		"very long":         {status: 200, body: `{"state":"Failed","message":"` + strings.Repeat("x", 10000) + `"}`, says: strings.Repeat("x", maxText) + "…"},
		"too large":         {status: 200, body: `{"state":"Done","message":"` + strings.Repeat("x", webhookplugin.MaxAnswer) + `"}`, says: "the answer is larger than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
				for name, value := range test.header {
					writer.Header().Set(name, value)
				}
				writer.WriteHeader(test.status)
				if test.status != 204 {
					fmt.Fprint(writer, test.body)
				}
			}))
			defer server.Close()
			one, _ := target()
			err := bind(t, nil, newInstant(), map[string]any{"url": server.URL}).Cleanup(t.Context(), one)
			if (err == nil) != test.done {
				t.Fatalf("error is %v", err)
			}
			if cleanup.IsPermanent(err) != test.permanent {
				t.Errorf("permanent is %v for %v", cleanup.IsPermanent(err), err)
			}
			if after, _ := cleanup.RetryDelay(err); after != test.after {
				t.Errorf("retry after %s, want %s", after, test.after)
			}
			if err != nil && (!strings.HasSuffix(err.Error(), test.says) && !strings.Contains(err.Error(), test.says) || len(err.Error()) > 700) {
				t.Errorf("error is %v, want %q in it", err, test.says)
			}
		})
	}
}

func TestInvalidOutputFailsTheStep(t *testing.T) {
	for name, test := range map[string]struct{ answer, says string }{
		"name":              {`{"state":"Done","outputs":{"a b":"x"}}`, `recording output "a b"`},
		"lines":             {`{"state":"Done","outputs":{"a":"x\ny"}}`, "recording output a: the value is not one line of text"},
		"with a failure":    {`{"state":"Failed","message":"no","permanent":true,"outputs":{"a":"x\ny"}}`, "no; recording output a"},
		"a secret":          {`{"state":"Done","outputs":{"a":"it is ` + canary + `"}}`, "recording output a: the value contains a secret"},
		"a secret for name": {`{"state":"Done","outputs":{"` + canary + `!":"x"}}`, `recording output "[secret]!"`},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := serve(t, test.answer)
			one, _ := target()
			err := bind(t, plugintest.Secrets{"s/token": canary}, newInstant(), map[string]any{"url": url, "token": secretKey("token")}).Cleanup(t.Context(), one)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), canary) {
				t.Errorf("error is %v, want %q", err, test.says)
			}
			if strings.Contains(test.answer, "permanent") != cleanup.IsPermanent(err) {
				t.Errorf("permanent is %v", cleanup.IsPermanent(err))
			}
		})
	}
}

func secretKey(key string) map[string]any {
	return map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": key}}
}

func TestRequestsAreAuthenticated(t *testing.T) {
	now := newInstant()
	var seen []string
	service := webhookplugin.Handler(done{}, webhookplugin.Options{Token: "token-1", HMACSecret: []byte("hmac-1"), Now: now.Now})
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		seen = append(seen, request.Method+" "+request.URL.Path)
		service.ServeHTTP(writer, request)
	}))
	defer server.Close()
	stored := plugintest.Secrets{"s/token": "token-1\n", "s/hmac": "hmac-1\n"}
	options := map[string]any{"url": server.URL, "token": secretKey("token"), "hmacSecret": secretKey("hmac")}
	plugin, one := bind(t, stored, now, options), first(target())
	for what, call := range map[string]func() error{
		"health": func() error { return plugin.(cleanup.HealthChecker).CheckHealth(t.Context()) },
		"clean":  func() error { return plugin.Cleanup(t.Context(), one) },
		"verify": func() error { _, err := plugin.(cleanup.Verifier).Verify(t.Context(), one); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(seen) < 4 {
		t.Errorf("only %q were sent", seen)
	}
	stored["s/hmac"] = "hmac-2"
	if err := plugin.Cleanup(t.Context(), one); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "401 Unauthorized: the header Nodecleanup-Signature is missing or wrong") {
		t.Errorf("a wrong signature: %v", err)
	}
	stored["s/hmac"] = "hmac-1"
	now.Step(time.Hour) // The service has the same clock.
	if err := plugin.Cleanup(t.Context(), one); err != nil {
		t.Errorf("the secret is not read for each call: %v", err)
	}
	stored["s/token"] = "to\nken"
	if err := plugin.Cleanup(t.Context(), one); err == nil || !strings.Contains(err.Error(), "finding the token: it contains a control character") {
		t.Errorf("a token of two lines: %v", err)
	}
	delete(stored, "s/token")
	if err := plugin.Cleanup(t.Context(), one); err == nil || cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "finding the token: reading key token of secret s") {
		t.Errorf("a missing secret: %v", err)
	}
}

func first[A, B any](a A, _ B) A { return a }

// done is a service with every ability.
type done struct{}

func (done) Cleanup(context.Context, *webhookplugin.Request) (webhookplugin.Answer, error) {
	return webhookplugin.Done(nil), nil
}

func (done) Preview(context.Context, *webhookplugin.Request) ([]webhookplugin.Effect, error) {
	return []webhookplugin.Effect{{
		Action: "Close", Object: &webhookplugin.Object{Kind: "Ticket", Name: "CHG-1"}, Reason: "change\nis over",
		Blocked: &webhookplugin.Blocked{Message: "not approved", Remedy: "approve it"},
	}}, nil
}

func (done) Verify(_ context.Context, request *webhookplugin.Request) (string, error) {
	if request.Node.Name == "reopened" {
		return "the ticket is open\n again", nil
	}
	return "", nil
}

func TestServiceReportsEffectsAndVerifies(t *testing.T) {
	server := httptest.NewServer(webhookplugin.Handler(done{}, webhookplugin.Options{}))
	defer server.Close()
	plugin, one := bind(t, nil, newInstant(), map[string]any{"url": server.URL}), first(target())
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), one)
	want := []cleanup.Effect{
		{Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: server.URL}, Reason: "POST /v1/cleanup about node worker"},
		{Action: "Close", Object: cleanup.Object{Kind: "Ticket", Name: "CHG-1"}, Reason: "change is over", ReportedBy: server.URL,
			Blocked: &cleanup.Blocker{Cause: "Service", Message: "not approved", Remedy: "approve it"}},
	}
	if err != nil || !reflect.DeepEqual(effects, want) {
		t.Errorf("previewed %+v, %v", effects, err)
	}
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), one); undone != "" || err != nil {
		t.Errorf("verified %q, %v", undone, err)
	}
	one.Node = one.Node.DeepCopy()
	one.Node.Name = "reopened"
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), one); undone != "the ticket is open again" || err != nil {
		t.Errorf("verified %q, %v", undone, err)
	}
}

// plain is a service without optional abilities.
type plain struct{ webhookplugin.Service }

func TestServiceWithoutAbilitiesIsNotAsked(t *testing.T) {
	var posts []string
	service := webhookplugin.Handler(plain{done{}}, webhookplugin.Options{})
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			posts = append(posts, request.URL.Path)
		}
		service.ServeHTTP(writer, request)
	}))
	defer server.Close()
	plugin, one := bind(t, nil, newInstant(), map[string]any{"url": server.URL}), first(target())
	if effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), one); err != nil || len(effects) != 1 || effects[0].Action != cleanup.Call {
		t.Errorf("previewed %+v, %v", effects, err)
	}
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), one); undone != "" || err != nil {
		t.Errorf("verified %q, %v", undone, err)
	}
	if len(posts) > 0 {
		t.Errorf("called %q", posts)
	}
}

// A new ability is used a minute later, without a restart of the agent.
func TestAbilitiesAreDiscoveredAgain(t *testing.T) {
	url, bodies := serve(t, `{"versions":["v1"],"abilities":["cleanup"],"name":"x"}`, `{"versions":["v1"],"abilities":["cleanup","verify"],"name":"x"}`, `{"undone":"something"}`)
	now := newInstant()
	verifier, one := bind(t, nil, now, map[string]any{"url": url}).(cleanup.Verifier), first(target())
	for range 2 {
		if undone, err := verifier.Verify(t.Context(), one); undone != "" || err != nil {
			t.Errorf("verified %q, %v", undone, err)
		}
	}
	now.Step(2 * discoveryInterval)
	if undone, err := verifier.Verify(t.Context(), one); undone != "something" || err != nil || len(*bodies) != 3 {
		t.Errorf("verified %q, %v after %q", undone, err, *bodies)
	}
}

func TestVerifyFailsWithoutAProof(t *testing.T) {
	for _, answer := range []string{`{}`, `{"undone":null}`, `null`, `[]`, `ok`} {
		url, _ := serve(t, `{"versions":["v1"],"abilities":["verify"],"name":"x"}`, answer)
		undone, err := bind(t, nil, newInstant(), map[string]any{"url": url}).(cleanup.Verifier).Verify(t.Context(), first(target()))
		if err == nil || undone != "" {
			t.Errorf("%s: %q, %v", answer, undone, err)
		}
	}
	url, _ := serve(t, `{"versions":["v1"],"abilities":["verify"],"name":"x"}`, `{"undone":"\u0007"}`)
	if undone, err := bind(t, nil, newInstant(), map[string]any{"url": url}).(cleanup.Verifier).Verify(t.Context(), first(target())); undone == "" || err != nil {
		t.Errorf("a bell is %q, %v", undone, err)
	}
}

func TestHealth(t *testing.T) {
	for name, test := range map[string]struct {
		discovery, health string
		status            int
		says              string
	}{
		"healthy":        {`{"versions":["v2","v1"],"abilities":[],"name":"x"}`, `{}`, 200, ""},
		"unhealthy":      {`{"versions":["v1"],"abilities":[],"name":"x"}`, `{"message":"the database is down"}`, 503, "/v1/health: the answer is 503 Service Unavailable: the database is down"},
		"newer":          {`{"versions":["v2"],"abilities":[],"name":"x"}`, `{}`, 200, `versions ["v2"] lacks v1`},
		"another server": {`welcome`, `welcome`, 200, "/v1/: the answer is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
				if request.URL.Path == webhookplugin.DiscoveryPath {
					fmt.Fprint(writer, test.discovery)
					return
				}
				writer.WriteHeader(test.status)
				fmt.Fprint(writer, test.health)
			}))
			defer server.Close()
			err := bind(t, nil, newInstant(), map[string]any{"url": server.URL}).(cleanup.HealthChecker).CheckHealth(t.Context())
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v, want %q", err, test.says)
			}
		})
	}
}

// The CLI must compute the same hash of a plan as the agent, and calls nobody.
func TestPreviewOfTheCLICallsNobody(t *testing.T) {
	client := &http.Client{Transport: httpclient.Offline{}}
	plugin, faults := Descriptor(client, plugintest.Secrets{}, newInstant()).Bind([]byte(`{"url":"https://cleanup.example.com","token":{"secretKeyRef":{"name":"s","key":"token"}}}`))
	if faults != nil {
		t.Fatal(faults)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), first(target()))
	if err != nil || len(effects) != 1 || effects[0].Object.Name != "https://cleanup.example.com" {
		t.Errorf("previewed %+v, %v", effects, err)
	}
}

func TestFailedPreviewIsAnEffectOfItsOwn(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	effects, err := bind(t, nil, newInstant(), map[string]any{"url": closed.URL}).(cleanup.Previewer).Preview(t.Context(), first(target()))
	if err != nil || len(effects) != 2 || effects[1].Action != cleanup.Unknown || effects[1].ReportedBy == "" || !strings.Contains(effects[1].Reason, "connection refused") {
		t.Errorf("previewed %+v, %v", effects, err)
	}
}

func TestNoSecretIsInAnyText(t *testing.T) {
	stored := plugintest.Secrets{"s/token": canary, "s/hmac": canary + "-hmac"}
	for name, status := range map[string]int{"answer": 200, "refusal": 401, "outage": 503} {
		server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			text := strings.Repeat("x", maxText-12) + " " + request.Header.Get("Authorization") + " can\x00ary-5b1e"
			writer.WriteHeader(status)
			if request.URL.Path == webhookplugin.DiscoveryPath {
				fmt.Fprintf(writer, `{"versions":["%s"],"abilities":["verify"]}`, canary)
				return
			}
			if err := json.NewEncoder(writer).Encode(map[string]any{"state": "Failed", "message": text, "undone": text}); err != nil {
				t.Error(err)
			}
		}))
		defer server.Close()
		plugin := bind(t, stored, newInstant(), map[string]any{"url": server.URL, "token": secretKey("token"), "hmacSecret": secretKey("hmac")})
		one, reported := target()
		var log bytes.Buffer
		one.Log = slog.New(slog.NewTextHandler(&log, nil))
		undone, failed := plugin.(cleanup.Verifier).Verify(t.Context(), one)
		said := fmt.Sprint(plugin.Cleanup(t.Context(), one), plugin.(cleanup.HealthChecker).CheckHealth(t.Context()), undone, failed, log.String(), reported.progress)
		if strings.Contains(said, canary[:8]) {
			t.Errorf("%s: %s", name, said)
		}
	}
}

func TestErrorOfTheConnectionNamesTheService(t *testing.T) {
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body) // Only then a server notices that its client has disconnected.
		<-request.Context().Done()
	}))
	defer hangs.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		url, says string
		options   map[string]any
	}{
		"hangs":                 {hangs.URL, "POST " + hangs.URL + "/v1/cleanup: no complete answer within 1s", nil},
		"refused":               {closed.URL, "POST " + closed.URL + "/v1/cleanup: dial tcp", nil},
		"refused, with a token": {closed.URL, "POST " + closed.URL + "/v1/cleanup: connection refused", map[string]any{"token": secretKey("token")}},
	} {
		t.Run(name, func(t *testing.T) {
			options := map[string]any{"url": test.url, "callTimeout": "1s"}
			maps.Copy(options, test.options)
			err := bind(t, plugintest.Secrets{"s/token": canary}, newInstant(), options).Cleanup(t.Context(), first(target()))
			if err == nil || !strings.Contains(err.Error(), test.says) || cleanup.IsPermanent(err) {
				t.Errorf("error is %v, want %q", err, test.says)
			}
		})
	}
}

// A timeout of the step names what the service was doing.
func TestTimeoutNamesTheProgress(t *testing.T) {
	url, _ := serve(t, `{"state":"InProgress","message":"ticket CHG-1 waits for approval"}`)
	data, err := json.Marshal(map[string]any{"url": url})
	if err != nil {
		t.Fatal(err)
	}
	plugin, faults := Descriptor(nil, nil, testingclock.NewFakeClock(time.Now())).Bind(data)
	if faults != nil {
		t.Fatal(faults)
	}
	one, _ := target()
	ctx, cancel := context.WithCancel(t.Context())
	one.Progress = func(string) { cancel() }
	if err := plugin.Cleanup(ctx, one); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "ticket CHG-1 waits for approval") {
		t.Errorf("error is %v", err)
	}
}

func TestClientCertificateIsPresented(t *testing.T) {
	certificate, key := pair(t)
	server := httptest.NewUnstartedServer(webhookplugin.Handler(done{}, webhookplugin.Options{}))
	server.TLS = clientCertificates(t, certificate)
	server.StartTLS()
	defer server.Close()
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	stored := plugintest.Secrets{"s/cert": certificate, "s/key": key}
	options := map[string]any{"url": server.URL, "caBundle": bundle}
	if err := bind(t, stored, newInstant(), options).Cleanup(t.Context(), first(target())); err == nil {
		t.Error("the service takes no certificate")
	}
	options["clientCertificate"], options["clientKey"] = secretKey("cert"), secretKey("key")
	plugin := bind(t, stored, newInstant(), options)
	if err := plugin.Cleanup(t.Context(), first(target())); err != nil {
		t.Error(err)
	}
	stored["s/key"] = "-----BEGIN " + canary
	if err := plugin.Cleanup(t.Context(), first(target())); err == nil || !strings.Contains(err.Error(), "the client certificate and its key") || strings.Contains(err.Error(), canary) {
		t.Errorf("a broken key: %v", err)
	}
}

func TestEveryInvalidOptionIsNamed(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                              "url: must be given",
		`{"url":"ftp://x"}`:               "url: is not a URL that starts with https://",
		`{"url":"http://x"}`:              "url: must begin with https://, or set allowHTTP: true",
		`{"url":"https://u:p@x"}`:         "url: must not contain a user: use token",
		`{"url":"https://x/?a=b"}`:        "url: must end with the host or a path, without a query: use params",
		`{"url":"https://x/v1/"}`:         "url: must not contain the path /v1, which the agent adds",
		`{"url":"https://x","token":"t"}`: "token: must be in a Secret: {secretKeyRef: {name: …, key: …}}",
		`{"url":"https://x","clientKey":{"secretKeyRef":{"name":"s","key":"k"}}}`:     "clientKey: must be given together with clientCertificate",
		`{"url":"https://x","hmacSecret":{"secretKeyRef":{"name":"s"}}}`:              "hmacSecret: secretKeyRef needs name and key",
		`{"url":"https://x","caBundle":"nonsense"}`:                                   "caBundle: contains something other than PEM certificates",
		`{"url":"https://x","callTimeout":"31s"}`:                                     "callTimeout: must be from 1s to 30s, not 31s",
		`{"url":"https://x","params":{"a":[{"b":{"secretKeyRef":{}}}]}}`:              "params.a[0].b: is sent as it is written, a Secret is not read: use token or hmacSecret",
		`{"url":"https://x","params":{"a":"` + strings.Repeat("x", maxParams) + `"}}`: "params: have 16392 bytes as JSON, the maximum is 16384",
	} {
		_, faults := Descriptor(nil, nil, nil).Bind([]byte(options))
		if len(faults) != 1 || faults[0].Error() != want {
			t.Errorf("%.80s: %v, want %s", options, faults, want)
		}
	}
	for _, options := range []string{
		`{"url":"https://x"}`, `{"url":"https://x/base"}`, `{"url":"http://x","allowHTTP":true}`, `{"url":"http://localhost:8080"}`, `{"url":"http://127.0.0.1:8080"}`, `{"url":"http://[::1]"}`,
	} {
		if _, faults := Descriptor(nil, nil, nil).Bind([]byte(options)); len(faults) > 0 {
			t.Errorf("%s: %v", options, faults)
		}
	}
}
