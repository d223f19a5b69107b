package alertmanager

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// server is a real Alertmanager behind a proxy, which counts changes and can fail.
type server struct {
	t *testing.T
	// url is that of the proxy.
	url   string
	mutex sync.Mutex
	// changes counts the requests that changed something.
	changes int
	// intercept, if it is not nil, handles a request and reports whether it answered it.
	intercept func(http.ResponseWriter, *http.Request) bool
}

var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// run starts an Alertmanager with a data directory of its own. It returns its address. The test is skipped if the
// program is missing.
func run(t *testing.T, arguments ...string) string {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("skipped: there is no prometheus-alertmanager on the PATH (Debian: apt-get install prometheus-alertmanager)")
	}
	directory := t.TempDir()
	config := filepath.Join(directory, "config.yml")
	write(t, config, "route: {receiver: none}\nreceivers: [{name: none}]\n")
	command := exec.CommandContext(t.Context(), program, append([]string{
		"--config.file=" + config, "--storage.path=" + filepath.Join(directory, "data"),
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
	}, arguments...)...)
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			said.WriteString(lines.Text() + "\n")
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // It may have ended.
		<-ended
		_ = command.Wait()
	})
	select {
	case at := <-address:
		return at
	case <-ended:
		t.Fatalf("Alertmanager does not listen:\n%s", said.String())
	case <-time.After(time.Minute):
		t.Fatal("Alertmanager does not listen")
	}
	return ""
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts an Alertmanager and its proxy.
func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: run(t)})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		intercept := s.intercept
		s.mutex.Unlock()
		if intercept != nil && intercept(w, r) {
			return
		}
		if r.Method != http.MethodGet {
			s.mutex.Lock()
			s.changes++
			s.mutex.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = front.URL
	return s
}

// fail makes the proxy handle requests until the test ends.
func (s *server) fail(t *testing.T, intercept func(http.ResponseWriter, *http.Request) bool) {
	set := func(intercept func(http.ResponseWriter, *http.Request) bool) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.intercept = intercept
	}
	set(intercept)
	t.Cleanup(func() { set(nil) })
}

// answer makes every request fail in this way until the test ends.
func (s *server) answer(t *testing.T, status int, body string) {
	s.fail(t, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	})
}

func (s *server) changed() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.changes
}

// call sends a request to the proxy, not by the plugin.
func (s *server) call(method, path string, document, answer any) {
	s.t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if data, err = io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %d, %s, %v", method, path, response.StatusCode, data, err)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			s.t.Fatal(err)
		}
	}
}

// silences returns the silences that have not expired.
func (s *server) silences() []silence {
	s.t.Helper()
	var all, current []silence
	s.call(http.MethodGet, "/api/v2/silences", nil, &all)
	for _, one := range all {
		if !one.expired() {
			current = append(current, one)
		}
	}
	return current
}

// silenced sends an alert with these labels, and reports whether a silence selects it.
func (s *server) silenced(labels map[string]string) bool {
	s.t.Helper()
	s.call(http.MethodPost, "/api/v2/alerts", []map[string]any{{"labels": labels}}, nil)
	var alerts []struct {
		Labels map[string]string
		Status struct{ SilencedBy []string }
	}
	s.call(http.MethodGet, "/api/v2/alerts", nil, &alerts)
	for _, alert := range alerts {
		if alert.Labels["alertname"] == labels["alertname"] && alert.Labels["node"] == labels["node"] && alert.Labels["instance"] == labels["instance"] {
			return len(alert.Status.SilencedBy) > 0
		}
	}
	s.t.Fatalf("Alertmanager has no alert %v: %+v", labels, alerts)
	return false
}

// secured starts an Alertmanager with TLS and basic authentication. It returns its URL and its certificate in PEM.
func secured(t *testing.T) (root, bundle string) {
	t.Helper()
	donor := httptest.NewTLSServer(nil) // Its certificate is for 127.0.0.1.
	donor.Close()
	pair := donor.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	bundle = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	write(t, filepath.Join(directory, "cert.pem"), bundle)
	write(t, filepath.Join(directory, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	// The bcrypt hash of the password.
	write(t, filepath.Join(directory, "web.yml"), "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"+
		"basic_auth_users: {ops: $2b$05$abcdefghijklmnopqrstuuTvmw3qcMpAvEgQGhbFMhqjD3R/evDDW}\n")
	return "https://" + run(t, "--web.config.file="+filepath.Join(directory, "web.yml")), bundle
}
