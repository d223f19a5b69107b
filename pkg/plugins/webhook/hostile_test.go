package webhook

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A service that is broken or hostile costs the agent neither memory nor time, and its texts are safe
// for a terminal.
func TestHostileServices(t *testing.T) {
	var written atomic.Int64
	// endless writes until the client has disconnected.
	endless := func(writer io.Writer, chunk []byte) {
		for {
			n, err := writer.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	spaces := bytes.Repeat([]byte(" "), 32<<10)
	// A slow machine must not take longer to make the bomb than the client waits.
	var bomb bytes.Buffer
	compressor := gzip.NewWriter(&bomb)
	for range 64 { // 2 MiB
		if _, err := compressor.Write(spaces); err != nil {
			t.Fatal(err)
		}
	}
	if err := compressor.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		says   string
	}{
		"1 GiB": {func(writer http.ResponseWriter, _ *http.Request) {
			writer.Header().Set("Content-Length", fmt.Sprint(1<<30))
			endless(writer, spaces)
		}, "the answer is larger than 64 KiB"},
		"endless chunks":  {func(writer http.ResponseWriter, _ *http.Request) { endless(writer, spaces) }, "the answer is larger than 64 KiB"},
		"endless refusal": {func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(400); endless(writer, spaces) }, "400 Bad Request"},
		"gzip bomb": {func(writer http.ResponseWriter, _ *http.Request) {
			writer.Header().Set("Content-Encoding", "gzip")
			if _, err := writer.Write(bomb.Bytes()); err != nil {
				t.Error(err)
			}
		}, "the answer is larger than 64 KiB"},
		"slow loris": {func(writer http.ResponseWriter, request *http.Request) {
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-request.Context().Done():
					return
				case <-ticker.C:
					fmt.Fprint(writer, " ")
					_ = http.NewResponseController(writer).Flush()
				}
			}
		}, "no complete answer within 1s"},
		"endless headers": {raw("HTTP/1.1 200 OK\r\n", "X-A: "+strings.Repeat("x", 1000)+"\r\n", &written), "server response headers exceeded"},
		"endless hints":   {raw("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", &written), ""},
		"no HTTP":         {raw("", "\x1b[2J\x00SSH-2.0\r\n", &written), "malformed HTTP"},
		"to the metadata": {func(writer http.ResponseWriter, request *http.Request) {
			http.Redirect(writer, request, "http://169.254.169.254/latest/meta-data/iam/security-credentials/", http.StatusTemporaryRedirect)
		}, "307 Temporary Redirect"},
		"escapes": {func(writer http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(writer, `{"state":"Failed","message":"\u001b[2J\u001b]0;owned\u0007 \u202edone\u0000\r\nnode removed"}`)
		}, "[2J]0;owned done node removed"},
		"invalid UTF-8": {func(writer http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(writer, "{\"state\":\"Failed\",\"message\":\"\xff\xfe\x9b31m\"}")
		}, "31m"},
		"deep": {func(writer http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(writer, `{"state":`+strings.Repeat("[", 60<<10))
		}, "the answer is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			written.Store(0)
			server := httptest.NewServer(http.HandlerFunc(test.answer))
			defer server.Close()
			one, reported := target()
			began := time.Now()
			err := bind(t, nil, newInstant(), map[string]any{"url": server.URL, "callTimeout": "1s"}).Cleanup(t.Context(), one)
			took := time.Since(began)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error is %v, want %q", err, test.says)
			}
			for _, text := range append(reported.progress, err.Error()) {
				if len(text) > 2*maxText || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u202e' }) {
					t.Errorf("an unsafe text: %q", text)
				}
			}
			// 10 MiB of headers are the limit of net/http; buffers of the kernel hold some more.
			if sent := written.Load(); sent > 64<<20 || took > 20*time.Second {
				t.Errorf("%d bytes were read within %s", sent, took)
			}
			if name == "to the metadata" && !cleanup.IsPermanent(err) {
				t.Error("the redirect is retried")
			}
		})
	}
}

// raw answers with these bytes, and the second ones again and again until the client has disconnected.
func raw(head, again string, written *atomic.Int64) func(http.ResponseWriter, *http.Request) {
	return func(writer http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(writer).Hijack()
		if err != nil {
			panic(err)
		}
		defer connection.Close()
		if _, err := connection.Write([]byte(head)); err != nil {
			return
		}
		again := bytes.Repeat([]byte(again), 100)
		for err == nil {
			var n int
			n, err = connection.Write(again)
			written.Add(int64(n))
		}
	}
}
