package http

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func TestHealthConnectsToTheDestination(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	secure, bundle, requests := tlsServer(t)
	stored := plugintest.Secrets{"s/closed": closed.URL + "/" + canary, "s/ca": bundle, "s/secure": secure.URL + "/" + canary}
	secret := func(key string) string { return `{"secretKeyRef":{"name":"s","key":"` + key + `"}}` }
	quoted := func(text string) string {
		data, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, test := range map[string]struct{ url, bundle, says string }{
		"closed port":          {quoted(closed.URL), `""`, "connecting to " + closed.URL + ": dial tcp " + strings.TrimPrefix(closed.URL, "http://") + ": connect: connection refused"},
		"closed port, secret":  {secret("closed"), `""`, "connecting to the URL in secret s/closed: connection refused"},
		"wrong CA":             {quoted(secure.URL), `""`, "x509: certificate signed by unknown authority"},
		"wrong CA, secret URL": {secret("secure"), `""`, "connecting to the URL in secret s/secure: the certificate is not trusted for this host"},
		"the right CA":         {quoted(secure.URL), secret("ca"), ""},
		"no TLS":               {quoted("https://" + plain(t)), `""`, "tls: first record does not look like a TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			err := bind(t, stored, `{"url":%s,"caBundle":%s}`, test.url, test.bundle).(cleanup.HealthChecker).CheckHealth(t.Context())
			if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), canary)) {
				t.Errorf("the error is %v, want %q", err, test.says)
			}
		})
	}
	if sent := requests.Load(); sent != 0 {
		t.Errorf("the health check sent %d requests", sent)
	}
}

// With HTTP/2, the handshake sends frames before the request.
func TestHealthOverHTTP2SendsNoRequest(t *testing.T) {
	closed, requests := make(chan struct{}, 1), new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.StartTLS()
	defer server.Close()
	options, err := json.Marshal(map[string]string{"url": server.URL, "caBundle": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))})
	if err != nil {
		t.Fatal(err)
	}
	if err := bind(t, nil, "%s", options).(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection stays open")
	}
	if sent := requests.Load(); sent != 0 {
		t.Errorf("the health check sent %d requests", sent)
	}
}

// plain returns the address of a server that speaks no TLS.
func plain(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// tunnel is a proxy for one CONNECT, which it reports.
func tunnel(t *testing.T, destination string) (proxy *url.URL, connected <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		near, err := listener.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		reader := bufio.NewReader(near)
		request, err := http.ReadRequest(reader)
		if err != nil {
			t.Error(err)
			return
		}
		asked <- request.Method + " " + request.Host
		far, err := net.Dial("tcp", destination)
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		if _, err := io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = io.Copy(near, far) }() // It ends when one of both is closed.
		_, _ = io.Copy(far, reader)
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}, asked
}

func TestHealthUsesTheProxy(t *testing.T) {
	secure, bundle, requests := tlsServer(t)
	proxy, connected := tunnel(t, strings.TrimPrefix(secure.URL, "https://"))
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	options, err := json.Marshal(map[string]string{"url": "https://example.com/", "caBundle": bundle}) // The certificate of httptest is for that name.
	if err != nil {
		t.Fatal(err)
	}
	plugin, faults := Descriptor(client, nil).Bind(options)
	if faults != nil {
		t.Fatal(faults)
	}
	if err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-connected; got != "CONNECT example.com:443" || requests.Load() != 0 {
		t.Errorf("the proxy was asked to %s; %d requests", got, requests.Load())
	}
}
