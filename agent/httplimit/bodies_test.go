package httplimit

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// endless is a body without an end, of which nobody should read much.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(into []byte) (int, error) {
	e.read.Add(int64(len(into)))
	return len(into), nil
}

func ignore(*http.Request, string) {}

func TestBodiesAreRefusedUnread(t *testing.T) {
	const max = 1 << 20
	var refusals atomic.Int32
	server := httptest.NewServer(Bodies(max, func(_ *http.Request, why string) { refusals.Add(int32(min(1, len(why)))) }, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(writer, request.Body); err != nil {
			t.Errorf("reading the body: %v", err)
		}
	})))
	defer server.Close()
	for name, test := range map[string]struct {
		length int64
		want   int
	}{
		"as long as may be":  {max, http.StatusOK},
		"too long":           {max + 1, http.StatusRequestEntityTooLarge},
		"a GiB":              {1 << 30, http.StatusRequestEntityTooLarge},
		"of unknown length":  {-1, http.StatusLengthRequired},
		"without any length": {0, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			sent, before := &endless{}, refusals.Load()
			var body io.Reader = sent
			if test.length > 0 {
				body = io.LimitReader(sent, test.length)
			}
			if test.length == 0 {
				body = http.NoBody
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = test.length
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			answer, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.want {
				t.Errorf("%s: %s", response.Status, answer)
			}
			if notified := refusals.Load() > before; notified != (test.want != http.StatusOK) {
				t.Errorf("counted as a refusal: %t", notified)
			}
			// What the sockets hold is sent without being read.
			if test.want != http.StatusOK && sent.read.Load() > 64<<20 {
				t.Errorf("%d bytes were taken", sent.read.Load())
			}
		})
	}
}

func TestConcurrentLargeBodiesAreLimited(t *testing.T) {
	const max = 1 << 20
	began, end := make(chan struct{}, 3), make(chan struct{})
	handler := Bodies(max, ignore, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-end }))
	server := httptest.NewServer(handler)
	defer server.Close()
	send := func(size int) (*http.Response, error) {
		return http.Post(server.URL, "application/json", bytes.NewReader(make([]byte, size)))
	}
	answers := make(chan error, 1)
	go func() {
		response, err := send(max)
		if err == nil {
			err = response.Body.Close()
		}
		answers <- err
	}()
	<-began
	response, err := send(max)
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1" || !strings.Contains(string(said), "try again") {
		t.Errorf("the second large request: %s %s (%v)", response.Status, said, err)
	}
	go func() { <-began; close(end) }() // The small one is let in.
	if response, err = send(smallBody); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a small request: %v %v", response, err)
	}
	if err == nil {
		response.Body.Close()
	}
	if err := <-answers; err != nil {
		t.Error(err)
	}
}
