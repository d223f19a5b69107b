package httpclient

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// tokens is a token endpoint. Each token has its number.
type tokens struct {
	mutex  sync.Mutex
	issued int
	answer http.HandlerFunc
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	if r.URL.Path != "/oauth_token.do" || r.Method != http.MethodPost || r.Header.Get("Authorization") != "" || r.ParseForm() != nil ||
		r.PostForm.Encode() != "client_id=agent&client_secret="+canary+"&grant_type=client_credentials" {
		http.Error(w, "invalid_client", http.StatusUnauthorized)
		return
	}
	s.issued++
	fmt.Fprintf(w, `{"access_token":"token-%d","scope":"useraccount","token_type":"Bearer","expires_in":1799}`, s.issued)
}

func clientOf(t *testing.T, s *tokens) *ClientCredentials {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return NewClientCredentials(&API{System: "Inventory", URL: server.URL, Client: server.Client()}, "oauth_token.do", "agent", cleanup.Literal(canary))
}

func TestATokenIsReusedUntilItExpires(t *testing.T) {
	c := clientOf(t, &tokens{})
	now := time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	want := func(token string) {
		t.Helper()
		header, hidden, err := c.Header(t.Context())
		if err != nil || header.Get("Authorization") != "Bearer "+token || !slices.Equal(hidden, []string{token}) {
			t.Errorf("got %v, %q, %v, want %s", header, hidden, err, token)
		}
	}
	want("token-1")
	now = now.Add(1799*time.Second - expiryMargin - time.Second)
	want("token-1")
	now = now.Add(time.Second)
	want("token-2")
	c.Forget(t.Context())
	want("token-3")
}

func TestRequestsAtOnceShareAToken(t *testing.T) {
	s := &tokens{}
	c := clientOf(t, s)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, _, err := c.Header(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if group.Wait(); s.issued != 1 {
		t.Errorf("%d tokens were issued", s.issued)
	}
}

func TestARequestDoesNotWaitForTheTokenOfAnother(t *testing.T) {
	c := clientOf(t, &tokens{})
	c.held <- struct{}{} // Another request waits for its token.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Header(ctx); err != context.Canceled {
		t.Error(err)
	}
	c.Forget(ctx)
}

func TestErrorsOfTokens(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		body      string
		says      string
		permanent bool
	}{
		"refused":      {401, `{"error":"invalid_client"}` + canary, "getting an access token: POST oauth_token.do: Inventory answers 401 Unauthorized: {\"error\":\"invalid_client\"}[secret]", true},
		"down":         {503, "", "503", false},
		"no token":     {200, `{}`, "the answer has no token", false},
		"two lines":    {200, `{"access_token":"a\r\nb"}`, "the answer has no token", false},
		"another page": {200, "<html>", "not the expected JSON", false},
	} {
		c := clientOf(t, &tokens{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}})
		_, _, err := c.Header(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), canary) || cleanup.IsPermanent(err) != test.permanent {
			t.Errorf("%s: %v, permanent %t", name, err, cleanup.IsPermanent(err))
		}
	}
	c := NewClientCredentials(&API{System: "Inventory", URL: "http://localhost"}, "token", "agent", cleanup.Literal("canary\x01"))
	if _, _, err := c.Header(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
