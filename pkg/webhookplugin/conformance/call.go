package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// response is what came back for one request.
type response struct {
	status int
	body   []byte
}

// says describes a response in a few words.
func (r response) says() string {
	text := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if problem, err := webhookplugin.Decode[webhookplugin.Problem](r.body); err == nil && problem.Message != "" {
		text += ": " + problem.Message
	}
	return shorten(text)
}

func shorten(text string) string {
	return truncate.Bytes(text, 300)
}

// send sends a request with the credentials. Change can modify it; nil does not.
func (s *suite) send(ctx context.Context, method, path string, body []byte, change func(*http.Request)) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, webhookplugin.MaxCallTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.URL.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	request.Header.Set("User-Agent", "nodecleanup")
	request.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.Token != "" {
		request.Header.Set("Authorization", "Bearer "+s.Token)
	}
	if len(s.HMACSecret) > 0 {
		webhookplugin.Sign(request, body, s.HMACSecret, s.Now())
	}
	if change != nil {
		change(request)
	}
	began := s.Now()
	received, err := s.Client.Do(request)
	if err != nil {
		return response{}, err
	}
	defer received.Body.Close()
	data, err := io.ReadAll(io.LimitReader(received.Body, webhookplugin.MaxAnswer+1))
	if err != nil {
		return response{}, fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	s.inspect(method+" "+path, received, data, s.Now().Sub(began))
	return response{received.StatusCode, data}, nil
}

// inspect records what is wrong with an answer whatever it says.
func (s *suite) inspect(what string, received *http.Response, data []byte, took time.Duration) {
	if len(data) > webhookplugin.MaxAnswer {
		s.fault("the answer of %s is larger than %d KiB", what, webhookplugin.MaxAnswer>>10)
	}
	kind, _, err := mime.ParseMediaType(received.Header.Get("Content-Type"))
	if received.StatusCode/100 == 2 && (err != nil || kind != "application/json") {
		s.fault("the Content-Type of %s is %q, not application/json", what, received.Header.Get("Content-Type"))
	}
	if received.StatusCode/100 == 3 {
		s.fault("%s is redirected, and the agent follows no redirect", what)
	}
	all := string(data) + fmt.Sprint(received.Header)
	if s.Token != "" && strings.Contains(all, s.Token) {
		s.fault("the answer of %s contains the token", what)
	}
	if len(s.HMACSecret) > 0 && strings.Contains(all, string(s.HMACSecret)) {
		s.fault("the answer of %s contains the HMAC secret", what)
	}
	var texts struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &texts) == nil && strings.ContainsFunc(texts.Message, unicode.IsControl) {
		s.fault("the message of %s has a control character or more than one line", what)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.slowest, s.largest = max(s.slowest, took), max(s.largest, len(data))
}

// post sends a request of the protocol and decodes the answer of status 200 to 299.
func post[A interface{ Validate() error }](ctx context.Context, s *suite, path string, request webhookplugin.Request) (A, error) {
	var none A
	body, err := json.Marshal(request)
	if err != nil {
		return none, err
	}
	received, err := s.send(ctx, http.MethodPost, path, body, func(sent *http.Request) { sent.Header.Set("Idempotency-Key", request.IdempotencyKey) })
	if err != nil {
		return none, err
	}
	return decode[A]("POST "+path, received)
}

func decode[A interface{ Validate() error }](what string, received response) (A, error) {
	if received.status/100 != 2 {
		var none A
		return none, fmt.Errorf("%s answers %s", what, received.says())
	}
	answer, err := webhookplugin.Decode[A](received.body)
	if err != nil {
		err = fmt.Errorf("the answer of %s is not valid: %w: %q", what, err, shorten(string(received.body)))
	}
	return answer, err
}
