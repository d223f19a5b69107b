package callerauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuer is a CA.
type issuer struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func issue(t *testing.T, template *x509.Certificate, by *issuer) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(1), time.Now().Add(-2*time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if by == nil {
		by = &issuer{t, template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, certificate, key}
}

func newCA(t *testing.T) *issuer {
	return issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true}, nil)
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw})
}

// client returns a client certificate of a subject.
func (i *issuer) client(subject string, usage x509.ExtKeyUsage, end time.Time) *tls.Certificate {
	made := issue(i.T, &x509.Certificate{Subject: pkix.Name{CommonName: subject}, ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotAfter: end}, i)
	return &tls.Certificate{Certificate: [][]byte{made.certificate.Raw}, PrivateKey: made.key}
}

// fixture is a server that demands certificates.
type fixture struct {
	*testing.T
	server *httptest.Server
	file   string
}

func serve(t *testing.T, ca *issuer) *fixture {
	t.Helper()
	f := &fixture{T: t, file: filepath.Join(t.TempDir(), "ca.crt")}
	f.store(ca.pem())
	authenticator, err := New(Options{CAFile: f.file, Subjects: []string{"api", "other"}}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(writer, "in") }))
	f.server.TLS = &tls.Config{}
	authenticator.Require(f.server.TLS)
	f.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

func (f *fixture) store(data []byte) {
	f.Helper()
	if err := os.WriteFile(f.file, data, 0o600); err != nil {
		f.Fatal(err)
	}
}

// call opens a new connection, with the session of the one before if the cache has it.
func (f *fixture) call(certificate *tls.Certificate, cache tls.ClientSessionCache) (resumed bool, err error) {
	f.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.server.Certificate())
	config := &tls.Config{RootCAs: roots, ClientSessionCache: cache}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.server.URL, nil)
	if err != nil {
		f.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "in" {
		f.Errorf("answered %q, %v", body, err)
	}
	return response.TLS.DidResume, nil
}

func TestOnlyAllowedSubjectsAreAuthenticated(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	f := serve(t, ca)
	later := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		in          bool
	}{
		"allowed":               {ca.client("api", x509.ExtKeyUsageClientAuth, later), true},
		"also allowed":          {ca.client("other", x509.ExtKeyUsageClientAuth, later), true},
		"without a certificate": {nil, false},
		"signed by another CA":  {foreign.client("api", x509.ExtKeyUsageClientAuth, later), false},
		"another subject":       {ca.client("system:node:a", x509.ExtKeyUsageClientAuth, later), false},
		"empty common name":     {ca.client("", x509.ExtKeyUsageClientAuth, later), false},
		"server certificate":    {ca.client("api", x509.ExtKeyUsageServerAuth, later), false},
		"expired":               {ca.client("api", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute)), false},
		"the CA itself":         {&tls.Certificate{Certificate: [][]byte{ca.certificate.Raw}, PrivateKey: ca.key}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.call(test.certificate, nil); (err == nil) != test.in {
				t.Errorf("answered %v", err)
			}
		})
	}
}

func TestCAIsReloaded(t *testing.T) {
	before, after := newCA(t), newCA(t)
	f := serve(t, before)
	later := time.Now().Add(time.Hour)
	old, young := before.client("api", x509.ExtKeyUsageClientAuth, later), after.client("api", x509.ExtKeyUsageClientAuth, later)
	sessions := tls.NewLRUClientSessionCache(1)
	if _, err := f.call(old, sessions); err != nil {
		t.Fatal(err)
	}
	if resumed, err := f.call(old, sessions); err != nil || !resumed {
		t.Fatalf("resumed %t, %v: what follows would prove nothing", resumed, err)
	}
	f.store(append(before.pem(), after.pem()...))
	for name, certificate := range map[string]*tls.Certificate{"old": old, "new": young} {
		if _, err := f.call(certificate, nil); err != nil {
			t.Errorf("with both CAs, the %s one: %v", name, err)
		}
	}
	f.store([]byte("half a fi"))
	if _, err := f.call(young, nil); err != nil {
		t.Errorf("while the file is broken: %v", err)
	}
	f.store(after.pem())
	if _, err := f.call(young, nil); err != nil {
		t.Error(err)
	}
	if _, err := f.call(old, nil); err == nil {
		t.Error("a CA that was taken out still lets in")
	}
	if _, err := f.call(old, sessions); err == nil {
		t.Error("a CA that was taken out still lets in by a resumed session")
	}
}

func TestOptionsWithoutAllowedCallersAreAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, newCA(t).pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]Options{
		"missing file":     {CAFile: file + ".none", Subjects: []string{"api"}},
		"empty file":       {CAFile: empty, Subjects: []string{"api"}},
		"missing subjects": {CAFile: file},
		"empty subject":    {CAFile: file, Subjects: []string{""}},
	} {
		if _, err := New(options, time.Now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRestrictNetworks(t *testing.T) {
	authenticator, err := New(Options{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/8")}}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	handler := authenticator.RestrictNetworks(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(http.StatusNoContent) }))
	for from, want := range map[string]int{
		"10.0.3.4:5": 204, "[::ffff:10.0.3.4]:5": 204, "[fd00::1]:5": 204, "10.1.0.1:5": 403, "[fe80::1]:5": 403, "[::ffff:10.1.0.1]:5": 403, "": 403, "pipe": 403,
	} {
		request, recorder := httptest.NewRequest(http.MethodPost, "/", nil), httptest.NewRecorder()
		request.RemoteAddr = from
		handler.ServeHTTP(recorder, request)
		if recorder.Code != want || want == 403 && !strings.Contains(recorder.Body.String(), "--webhook-source-cidrs") {
			t.Errorf("%q: answered %d %s, want %d", from, recorder.Code, recorder.Body, want)
		}
	}
}

func TestCallersNeedACertificate(t *testing.T) {
	for name, test := range map[string]struct {
		file  string
		state *tls.ConnectionState
		want  bool
	}{
		"a certificate":  {"ca.crt", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, true},
		"no certificate": {"ca.crt", &tls.ConnectionState{}, false},
		"no TLS":         {"ca.crt", nil, false},
		"certificate without client authentication": {"", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, false},
	} {
		g := &Authenticator{options: Options{CAFile: test.file}}
		if got := g.Authenticated(&http.Request{TLS: test.state}); got != test.want {
			t.Errorf("%s: it is %v", name, got)
		}
	}
}
