package webhookplugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echo is a service whose answer is its Node's name.
type echo struct{}

func (echo) Cleanup(_ context.Context, request *Request) (Answer, error) {
	switch request.Node.Name {
	case "fails":
		return Answer{}, errors.New("the database is down")
	case "invalid":
		return Answer{State: "Maybe"}, nil
	}
	answer := InProgress("cleaning "+request.Node.Name+" with "+string(request.Params), 7)
	answer.Progress = &Progress{Done: 1, Total: 3}
	return answer, nil
}

func (echo) Verify(context.Context, *Request) (string, error) { return "", nil }
func (echo) CheckHealth(context.Context) error                { return errors.New("the disk is full") }

func TestHandler(t *testing.T) {
	server := httptest.NewServer(Handler(echo{}, Options{Name: "echo", Version: "1.2", Token: "token"}))
	defer server.Close()
	const node = `{"idempotencyKey":"k","node":{"name":"%s","uid":"u"},"params":{"a":1},"later":true}`
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"discovery":     {"GET", "/v1/", "", 200, `{"versions":["v1"],"abilities":["cleanup","verify"],"name":"echo","version":"1.2"}`},
		"health":        {"GET", "/v1/health", "", 503, `{"message":"the disk is full"}`},
		"cleanup":       {"POST", "/v1/cleanup", fmt.Sprintf(node, "worker"), 200, `{"state":"InProgress","message":"cleaning worker with {\"a\":1}","progress":{"done":1,"total":3},"retryAfterSeconds":7}`},
		"verify":        {"POST", "/v1/verify", fmt.Sprintf(node, "worker"), 200, `{"undone":""}`},
		"error":         {"POST", "/v1/cleanup", fmt.Sprintf(node, "fails"), 500, `{"message":"the database is down"}`},
		"unknown state": {"POST", "/v1/cleanup", fmt.Sprintf(node, "invalid"), 500, `{"message":"state is \"Maybe\", not Done, InProgress or Failed"}`},
		"no preview":    {"POST", "/v1/preview", fmt.Sprintf(node, "worker"), 404, ""},
		"no JSON":       {"POST", "/v1/cleanup", "node=worker", 400, `{"message":"the request is not valid JSON of this protocol"}`},
		"no node":       {"POST", "/v1/cleanup", `{"idempotencyKey":"k"}`, 400, `{"message":"the request lacks idempotencyKey, node.name or node.uid"}`},
		"too large":     {"POST", "/v1/cleanup", strings.Repeat(" ", MaxRequest+1), 413, `{"message":"the request is larger than 1024 KiB"}`},
		"wrong method":  {"GET", "/v1/cleanup", "", 405, ""},
		"unknown path":  {"GET", "/v1/other", "", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer token")
			status, body := do(t, request)
			if status != test.status || test.want != "" && body != test.want {
				t.Errorf("%d %s", status, body)
			}
			request.Header.Set("Authorization", "Bearer other")
			request.Body = http.NoBody
			if status, body := do(t, request); status != 401 && status != 404 && status != 405 {
				t.Errorf("with a wrong token: %d %s", status, body)
			}
		})
	}
}

func do(t *testing.T, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func TestSignedRequests(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	secret, body := []byte("secret"), []byte(`{"idempotencyKey":"k","node":{"name":"n","uid":"u"}}`)
	// A prefix that is stripped is part of what was signed.
	server := httptest.NewServer(http.StripPrefix("/base", Handler(echo{}, Options{HMACSecret: secret, Now: func() time.Time { return now }})))
	defer server.Close()
	for name, test := range map[string]struct {
		change func(*http.Request)
		at     time.Time
		secret string
		says   string
	}{
		"signed":        {},
		"a bit late":    {at: now.Add(-ReplayWindow)},
		"replayed":      {at: now.Add(-ReplayWindow - time.Second), says: "the signature is not of the last 5m0s"},
		"of the future": {at: now.Add(ReplayWindow + time.Second), says: "the signature is not of the last 5m0s"},
		"other secret":  {secret: "other", says: "the header Nodecleanup-Signature is missing or wrong"},
		"other path":    {change: func(r *http.Request) { r.URL.Path = "/base/v1/verify" }, says: "is missing or wrong"},
		"other query":   {change: func(r *http.Request) { r.URL.RawQuery = "a=b" }, says: "is missing or wrong"},
		"other time":    {change: func(r *http.Request) { r.Header.Set(TimestampHeader, fmt.Sprint(now.Unix()+1)) }, says: "is missing or wrong"},
		"other body": {change: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), `"n"`, `"m"`, 1)))
		}, says: "is missing or wrong"},
		"unsigned": {change: func(r *http.Request) { r.Header.Del(SignatureHeader) }, says: "is missing or wrong"},
		"no time":  {change: func(r *http.Request) { r.Header.Del(TimestampHeader) }, says: "the header Nodecleanup-Timestamp is missing or no number"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/base"+CleanupPath, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			at, with := now, secret
			if !test.at.IsZero() {
				at = test.at
			}
			if test.secret != "" {
				with = []byte(test.secret)
			}
			Sign(request, body, with, at)
			if test.change != nil {
				test.change(request)
			}
			status, said := do(t, request)
			if (status == 200) != (test.says == "") || !strings.Contains(said, test.says) {
				t.Errorf("%d %s", status, said)
			}
		})
	}
}

// docs/webhook-plugin.md has this example, for services in other languages.
func TestSignatureOfTheDocumentation(t *testing.T) {
	request := httptest.NewRequest(http.MethodPost, "https://cleanup.example.com/v1/cleanup", nil)
	Sign(request, []byte(`{"step":"ticket"}`), []byte("secret"), time.Unix(1769832000, 0))
	const want = "v1=b4ecfddebc9b770e7a7480b89d4deadf7117bc9494e4e3dfb1fd8f28196f7eee"
	if got := request.Header.Get(SignatureHeader); got != want {
		t.Errorf("the signature is %s", got)
	}
}
