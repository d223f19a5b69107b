package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func bind(t *testing.T, stored plugintest.Secrets, format string, arguments ...any) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(nil, stored).Bind(fmt.Appendf(nil, format, arguments...))
	if faults != nil {
		t.Fatal(faults)
	}
	return plugin
}

func target() cleanup.Target {
	return cleanup.Target{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u", Labels: map[string]string{"zone": "a"}},
			Spec:       corev1.NodeSpec{ProviderID: "p"},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}}},
		},
		Attempt: 2, IdempotencyKey: "u/step", Log: slog.New(slog.DiscardHandler), Progress: func(string) {},
	}
}

// serve answers each request in the same way and keeps the last one.
func serve(t *testing.T, status int, header map[string]string, body string) (url string, last *http.Request, sent *string) {
	last, sent = &http.Request{}, new(string)
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		data, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		*last, *sent = *request, string(data)
		for name, value := range header {
			writer.Header().Set(name, value)
		}
		writer.WriteHeader(status)
		fmt.Fprint(writer, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, last, sent
}

func TestDocumentIsSentAsConfigured(t *testing.T) {
	url, last, sent := serve(t, 204, nil, "")
	plugin := bind(t, plugintest.Secrets{"s/url": url + "/nodes?x=1\n", "s/token": "Bearer t\n"},
		`{"url":{"secretKeyRef":{"name":"s","key":"url"}},"method":"PUT","headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}},"X-A":"b"}}`)
	if err := plugin.Cleanup(t.Context(), target()); err != nil {
		t.Fatal(err)
	}
	if last.Method != "PUT" || last.URL.String() != "/nodes?x=1" {
		t.Errorf("sent %s %s", last.Method, last.URL)
	}
	for name, want := range map[string]string{"Authorization": "Bearer t", "X-A": "b", "Idempotency-Key": "u/step", "Content-Type": "application/json"} {
		if got := last.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	var got, want any
	if err := json.Unmarshal([]byte(*sent), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"apiVersion":"nodecleanup.io/v1alpha1","kind":"NodeCleanup","attempt":2,"idempotencyKey":"u/step",
		"node":{"name":"worker","uid":"u","providerID":"p","labels":{"zone":"a"},"addresses":[{"type":"InternalIP","address":"10.0.0.7"}]}}`), &want); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent %s", *sent)
	}
}

func TestResponses(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		header    map[string]string
		body      string
		done      bool
		permanent bool
		after     time.Duration
		says      string
	}{
		"done":               {status: 200, done: true},
		"also accepted":      {status: 404, done: true},
		"busy":               {status: 429, header: map[string]string{"Retry-After": "7"}, after: 7 * time.Second, says: "429 Too Many Requests"},
		"broken":             {status: 500, body: "out of\n disk\x00", says: "500 Internal Server Error: out of disk"},
		"unavailable":        {status: 503, header: map[string]string{"Retry-After": "soon"}, says: "503"},
		"wrong":              {status: 400, body: "no such field", permanent: true, says: "400 Bad Request: no such field"},
		"redirect":           {status: 307, header: map[string]string{"Location": "http://127.0.0.1:1/"}, permanent: true, says: "307"},
		"garbage of 1 MiB":   {status: 502, body: strings.Repeat("x", 1<<20), says: strings.Repeat("x", httpclient.MaxExcerpt)},
		"very long":          {status: 503, header: map[string]string{"Retry-After": "99999999999"}, after: httpclient.MaxRetryAfter, says: "503"},
		"year 9999":          {status: 503, header: map[string]string{"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, after: httpclient.MaxRetryAfter, says: "503"},
		"a time in the past": {status: 503, header: map[string]string{"Retry-After": "Mon, 02 Jan 2006 15:04:05 GMT"}, says: "503"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _, _ := serve(t, test.status, test.header, test.body)
			err := bind(t, nil, `{"url":%q,"alsoAccept":[404]}`, url+"/path").Cleanup(t.Context(), target())
			if (err == nil) != test.done {
				t.Fatalf("error is %v", err)
			}
			if cleanup.IsPermanent(err) != test.permanent {
				t.Errorf("permanent is %v for %v", cleanup.IsPermanent(err), err)
			}
			if after, _ := cleanup.RetryDelay(err); after != test.after {
				t.Errorf("retry after %s, want %s", after, test.after)
			}
			if err != nil && (!strings.HasSuffix(err.Error(), test.says) && !strings.Contains(err.Error(), test.says) || len(err.Error()) > 500) {
				t.Errorf("error is %v, want %q in it", err, test.says)
			}
		})
	}
}

// The status is known, and the rest of the answer does not come.
func TestSlowBodyDoesNotBlockTheStep(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		length string
		says   string
	}{
		"done":              {200, "100", ""},
		"done, no length":   {200, "", ""},
		"failed":            {503, "100", "503 Service Unavailable: out of disk"},
		"failed, no length": {400, "", "400 Bad Request: out of disk"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
				if test.length != "" {
					writer.Header().Set("Content-Length", test.length)
				}
				writer.WriteHeader(test.status)
				fmt.Fprint(writer, "out of disk")
				if err := http.NewResponseController(writer).Flush(); err != nil {
					t.Error(err)
				}
				<-done
			}))
			defer server.Close()
			defer close(done)
			const timeout = 20 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			began := time.Now()
			err := bind(t, nil, `{"url":%q}`, server.URL).Cleanup(ctx, target())
			if took := time.Since(began); took > timeout/2 {
				t.Errorf("it took %s", took)
			}
			if (err == nil) != (test.says == "") || err != nil && !strings.HasSuffix(err.Error(), test.says) {
				t.Errorf("the error is %v, want %q", err, test.says)
			}
		})
	}
}

func TestNodesShareAConnection(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprint(writer, "thanks") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	plugin := bind(t, nil, `{"url":%q}`, server.URL)
	for range 3 {
		if err := plugin.Cleanup(t.Context(), target()); err != nil {
			t.Fatal(err)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for 3 nodes", opened.Load())
	}
}

func TestNoSecretIsInAnyError(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body) // Only then a server notices that its client has disconnected.
		<-request.Context().Done()
	}))
	defer slow.Close()
	echo := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		writer.WriteHeader(500)
		fmt.Fprint(writer, request.URL, request.Header)
	}))
	defer echo.Close()
	host := func(server *httptest.Server) string { return strings.TrimPrefix(server.URL, "http://") }
	for name, url := range map[string]string{
		"refused":         "http://user:" + canary + "@" + host(closed) + "/" + canary + "?token=" + canary,
		"slow":            slow.URL + "/" + canary,
		"echoed":          echo.URL + "/" + canary,
		"no URL":          canary,
		"broken URL":      "http://[" + canary,
		"control in host": "http://" + canary + "\x7f/",
	} {
		for _, header := range []string{"Bearer " + canary, "Bearer\n" + canary} {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				plugin := bind(t, plugintest.Secrets{"s/url": url, "s/token": header},
					`{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}}}`)
				err := plugin.Cleanup(ctx, target())
				if err == nil || strings.Contains(err.Error(), canary) {
					t.Errorf("error is %v", err)
				}
				said, err := plugin.(cleanup.Previewer).Preview(t.Context(), target())
				if err != nil || strings.Contains(fmt.Sprint(said), canary) {
					t.Errorf("preview is %v, %v", said, err)
				}
			})
		}
	}
}

func TestAMissingSecretIsNamedAndTriedAgain(t *testing.T) {
	err := bind(t, plugintest.Secrets{}, `{"url":{"secretKeyRef":{"name":"s","key":"url"}}}`).Cleanup(t.Context(), target())
	if err == nil || !strings.Contains(err.Error(), "key url of secret s") || cleanup.IsPermanent(err) {
		t.Errorf("error is %v", err)
	}
}

func TestHealthResolvesURLAndHeadersAndSendsNothing(t *testing.T) {
	url, last, _ := serve(t, 200, nil, "")
	stored := plugintest.Secrets{"s/url": url}
	checker := bind(t, stored, `{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"A":{"secretKeyRef":{"name":"s","key":"token"}}}}`).(cleanup.HealthChecker)
	if err := checker.CheckHealth(t.Context()); err == nil || !strings.Contains(err.Error(), "finding the header A: reading key token of secret s") {
		t.Errorf("error is %v", err)
	}
	stored["s/token"] = "t"
	if err := checker.CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	if last.Method != "" {
		t.Errorf("the health check sent %s", last.Method)
	}
}

func TestEveryInvalidOptionIsNamed(t *testing.T) {
	_, faults := Descriptor(nil, nil).Bind([]byte(`{"url":"ftp://x","method":"GET","headers":{"a b":"c","D":{"secretKeyRef":{"name":"s"}},
		"E":"x\ny","idempotency-key":"k","Host":"h","f":"1","F":"2"},"alsoAccept":[7]}`))
	all := errors.Join(faults...).Error()
	for _, want := range []string{
		"headers.E: has a control character in it", "headers.idempotency-key: is set by the plugin", "headers.Host: is set by the plugin",
		"headers.f: is the same header as F",
		"url: is not a URL that starts with http:// or https://", `method: must be one of POST, PUT, PATCH, DELETE, not "GET"`,
		`"a b" is not a valid header name`, "headers.D: secretKeyRef needs name and key", "alsoAccept[0]: 7 is not an HTTP status code",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}
}
