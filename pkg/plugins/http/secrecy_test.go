package http

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const canary = "canary-7f3a"

// raw answers each request with these bytes.
func raw(t *testing.T, answer func(request []byte) string) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			head := make([]byte, 4096)
			n, _ := bufio.NewReader(connection).Read(head)
			fmt.Fprint(connection, answer(head[:n]))
			connection.Close()
		}
	}()
	return listener.Addr().String()
}

// The server repeats the request in its response, and errors of Go quote it.
func TestNoSecretIsRepeated(t *testing.T) {
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	echo := func(format string) string {
		return "http://" + raw(t, func(request []byte) string { return fmt.Sprintf(format, canary, canary) }) + "/" + canary
	}
	for name, test := range map[string]struct{ url, says string }{
		"status text":      {echo("HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n%[1]s"), "500 Internal Server Error"},
		"broken answer":    {echo("%s %s\r\n\r\n"), "the connection was closed"},
		"broken header":    {echo("HTTP/1.1 200 OK\r\n%s\r\n%s\r\n\r\n"), "the connection was closed"},
		"unknown host":     {"http://" + canary + ".invalid/", "the host name is not known"},
		"wrong name in it": {strings.Replace(tls.URL, "127.0.0.1", "localhost", 1) + "/" + canary, "the certificate is not trusted"},
		"bad port":         {"http://127.0.0.1:" + canary + "/", "is not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			plugin := bind(t, plugintest.Secrets{"s/url": test.url, "s/token": canary},
				`{"url":{"secretKeyRef":{"name":"s","key":"url"}},"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}}}`)
			var log bytes.Buffer
			target := target()
			target.Log = slog.New(slog.NewTextHandler(&log, nil))
			err := plugin.Cleanup(t.Context(), target)
			if err == nil || strings.Contains(err.Error()+log.String(), canary) {
				t.Fatalf("error is %v, log is %s", err, log.String())
			}
			if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "the URL in secret s/url") {
				t.Errorf("error is %v, want %q in it", err, test.says)
			}
		})
	}
}

func TestInlineURLIsNamedByItsHost(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	host := strings.TrimPrefix(closed.URL, "http://")
	err := bind(t, nil, `{"url":"http://user:%s@%s/%[1]s?token=%[1]s"}`, canary, host).Cleanup(t.Context(), target())
	if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "sending POST to "+closed.URL+": dial tcp "+host) {
		t.Errorf("error is %v", err)
	}
}

func TestErrorWrapsTheContextError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := bind(t, plugintest.Secrets{"s/url": "http://127.0.0.1:1/"}, `{"url":{"secretKeyRef":{"name":"s","key":"url"}}}`).Cleanup(ctx, target())
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("error is %v", err)
	}
}

func TestAnEmptySecretIsNotSent(t *testing.T) {
	url, last, _ := serve(t, 200, nil, "")
	err := bind(t, plugintest.Secrets{"s/token": " \n"}, `{"url":%q,"headers":{"Authorization":{"secretKeyRef":{"name":"s","key":"token"}}}}`, url).Cleanup(t.Context(), target())
	if err == nil || !strings.Contains(err.Error(), "finding the header Authorization: key token of secret s is empty") || cleanup.IsPermanent(err) {
		t.Errorf("error is %v", err)
	}
	if last.Method != "" {
		t.Errorf("it was sent all the same")
	}
}
