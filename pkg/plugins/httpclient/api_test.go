package httpclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const canary = "canary-5f1e"

func api(t *testing.T, handler http.HandlerFunc) *API {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &API{System: "Inventory", URL: server.URL + "/root/", Client: server.Client(), Credentials: func(context.Context) (http.Header, []string, error) {
		return http.Header{"Authorization": {"Bearer " + canary}}, []string{canary}, nil
	}}
}

func TestCallSendsAndDecodesJSON(t *testing.T) {
	var body, uri, authorization, contentType string
	a := api(t, func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		body, uri, authorization, contentType = string(data), r.Method+" "+r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Content-Type")
		_, _ = io.WriteString(w, `{"id":7,"unknown":true}`)
	})
	var answer struct{ ID int }
	if err := a.Call(t.Context(), http.MethodPatch, "v1/items/a%2Fb/?name=w1&x=%24", map[string]string{"status": "gone"}, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.ID != 7 || body != `{"status":"gone"}` || uri != "PATCH /root/v1/items/a%2Fb/?name=w1&x=%24" || authorization != "Bearer "+canary || contentType != "application/json" {
		t.Errorf("got %+v; sent %s %s with %q, %q", answer, uri, body, authorization, contentType)
	}
	if err := a.Call(t.Context(), http.MethodGet, "v1", nil, nil); err != nil || body != "" || contentType != "" {
		t.Errorf("%v; sent %q with type %q", err, body, contentType)
	}
}

func TestErrorsOfCalls(t *testing.T) {
	for name, test := range map[string]struct {
		handler   http.HandlerFunc
		want      string
		permanent bool
		code      int
	}{
		"not found": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no item\n of "+canary, http.StatusNotFound)
		},
			"GET v1/items: Inventory answers 404 Not Found: no item of [secret]", true, 404},
		"later": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			"GET v1/items: Inventory answers 502 Bad Gateway", false, 502},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			`GET v1/items: Inventory answers 302 Found: <a href="/elsewhere">Found</a>.`, true, 302},
		"another page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+canary) },
			"GET v1/items: the answer is not the expected JSON of Inventory; a proxy may have answered", false, 0},
		"large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("1", MaxAnswer+1))
		},
			"GET v1/items: the answer is larger than 1024 KiB", false, 0},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, canary)
		}, "GET v1/items: reading the answer: the connection was closed before a complete answer arrived", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var answer struct{}
			err := api(t, test.handler).Call(t.Context(), http.MethodGet, "v1/items?name="+canary, nil, &answer)
			if err == nil || err.Error() != test.want || cleanup.IsPermanent(err) != test.permanent || StatusCode(err) != test.code {
				t.Errorf("got %v, permanent %v, code %d", err, cleanup.IsPermanent(err), StatusCode(err))
			}
		})
	}
}

func TestACallThatReachesNobodyShowsNoURL(t *testing.T) {
	a := api(t, nil)
	a.URL = "http://user-" + canary + ".invalid"
	err := a.Call(t.Context(), http.MethodGet, "v1", nil, nil)
	if err == nil || strings.Contains(err.Error(), canary) || !strings.HasPrefix(err.Error(), "GET v1: ") {
		t.Error(err)
	}
}

func TestTheHeaderOfAnAnswerIsInspected(t *testing.T) {
	a := api(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Filtered", "true")
		_, _ = io.WriteString(w, "[]")
	})
	filtered := errors.New("filtered")
	a.Inspect = func(header http.Header) error {
		if header.Get("X-Filtered") == "true" {
			return filtered
		}
		return nil
	}
	if err := a.Call(t.Context(), http.MethodGet, "v1/items", nil, nil); !errors.Is(err, filtered) || err.Error() != "GET v1/items: filtered" {
		t.Error(err)
	}
}

func TestAMessageIsCut(t *testing.T) {
	a := api(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	a.Message = func([]byte) string { return strings.Repeat("é", 10000) }
	var status *StatusError
	if err := a.Call(t.Context(), http.MethodGet, "v1", nil, nil); !errors.As(err, &status) || len(status.Message) > maxMessage+len("…") {
		t.Errorf("a message of %d bytes", len(status.Message))
	}
}

func TestAnErrorWithoutAMessageShowsTheBeginningOfTheAnswer(t *testing.T) {
	a := api(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html> Bad\nGateway", http.StatusBadGateway)
	})
	a.Message = func([]byte) string { return "" }
	if err := a.Call(t.Context(), http.MethodGet, "v1", nil, nil); err == nil || err.Error() != "GET v1: Inventory answers 502 Bad Gateway: <html> Bad Gateway" {
		t.Error(err)
	}
}

// The excerpt of the answer ends in the middle of the secret.
func TestNoPartOfASecretIsShown(t *testing.T) {
	for padding := MaxExcerpt - len(canary); padding <= MaxExcerpt; padding++ {
		a := api(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("-", padding)+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		})
		if err := a.Call(t.Context(), http.MethodGet, "v1", nil, nil); err == nil || strings.Contains(err.Error(), canary[:2]) {
			t.Fatalf("after %d characters: %v", padding, err)
		}
	}
}
