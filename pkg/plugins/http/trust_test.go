package http

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// tlsServer counts its requests; its certificate is signed by itself.
func tlsServer(t *testing.T) (server *httptest.Server, bundle string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // Callers who do not trust it.
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), requests
}

func TestOnlyTheBundleIsTrusted(t *testing.T) {
	server, bundle, requests := tlsServer(t)
	if err := bind(t, nil, `{"url":%q}`, server.URL).Cleanup(t.Context(), target()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the bundle: %v", err)
	}
	quoted, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := bind(t, nil, `{"url":%q,"caBundle":%s}`, server.URL, quoted).Cleanup(t.Context(), target()); err != nil {
			t.Errorf("with the bundle: %v", err)
		}
	}
	if through := requests.Load(); through != 2 {
		t.Errorf("%d requests came through", through)
	}
}

func TestABundleInASecretIsReadEachTime(t *testing.T) {
	server, bundle, _ := tlsServer(t)
	stored := plugintest.Secrets{"s/ca": bundle}
	sender := bind(t, stored, `{"url":%q,"caBundle":{"secretKeyRef":{"name":"s","key":"ca"}}}`, server.URL)
	if err := sender.Cleanup(t.Context(), target()); err != nil {
		t.Errorf("with the bundle: %v", err)
	}
	for broken, says := range map[string]string{"": "empty", "nonsense": "something other than PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----": "number 1"} {
		stored["s/ca"] = broken
		if err := sender.Cleanup(t.Context(), target()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("bundle %q: %v, want %q", broken, err, says)
		}
	}
}

func TestInlineBundleIsValidatedWithTheConfig(t *testing.T) {
	_, faults := Descriptor(nil, nil).Bind([]byte(`{"url":"https://x","caBundle":"nonsense"}`))
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "caBundle") {
		t.Errorf("faults %v", faults)
	}
}

// gated is a transport that stands around another, as the agent's does.
type gated struct {
	next http.RoundTripper
	shut error
}

func (g gated) RoundTrip(request *http.Request) (*http.Response, error) {
	if g.shut != nil {
		return nil, g.shut
	}
	return g.next.RoundTrip(request)
}

func (g gated) WithTLS(config *tls.Config) http.RoundTripper {
	return gated{&http.Transport{TLSClientConfig: config}, g.shut}
}

func TestBundleDoesNotBypassTheFence(t *testing.T) {
	server, bundle, requests := tlsServer(t)
	quoted, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, shut := range []error{errors.New("not the leader"), nil} {
		plugin, faults := Descriptor(&http.Client{Transport: gated{shut: shut}}, nil).Bind(fmt.Appendf(nil, `{"url":%q,"caBundle":%s}`, server.URL, quoted))
		if faults != nil {
			t.Fatal(faults)
		}
		if err := plugin.Cleanup(t.Context(), target()); !errors.Is(err, shut) {
			t.Errorf("the gate says %v: %v", shut, err)
		}
		if want := shut == nil; (requests.Load() == 1) != want {
			t.Errorf("the gate says %v: %d requests came through", shut, requests.Load())
		}
	}
}
