// Package webhook_test runs the examples as docs/webhook-plugin.md says, and tests them with the conformance suite.
package webhook_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin/conformance"
)

// start runs an example until the test ends, and returns its URL.
func start(t *testing.T, scheme string, environment []string, name string, arguments ...string) *url.URL {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("%s is not installed", name)
		}
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Env = append(os.Environ(), append(environment, "HOST="+host(), "PORT=0")...)
	var errors strings.Builder
	command.Stderr = &errors
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // After the test's context has ended, which kills the process.
		_ = command.Wait()
		if t.Failed() {
			t.Log(errors.String())
		}
	})
	var port int
	line, err := bufio.NewReader(output).ReadString('\n')
	if _, scanned := fmt.Sscanf(line, "listening on port %d", &port); err != nil || scanned != nil {
		t.Fatalf("it says %q, %v", line, err)
	}
	return &url.URL{Scheme: scheme, Host: fmt.Sprintf("%s:%d", host(), port)}
}

// host is an address that is not the default of the examples, where the loopback interface has several.
func host() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2"
	}
	return "127.0.0.1"
}

// certificate writes a certificate for the loopback interface and its key, and returns a client that
// trusts it.
func certificate(t *testing.T) (environment []string, client *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: server.Certificate().Raw}, "key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return []string{"CERT=" + filepath.Join(folder, "cert"), "KEY=" + filepath.Join(folder, "key")},
		&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: server.Certificate().DNSNames[0]}}}
}

func check(t *testing.T, options conformance.Options, skipped ...string) {
	t.Helper()
	options.After = func(time.Duration) <-chan time.Time { return time.After(0) }
	for _, result := range conformance.Run(t.Context(), options) {
		want := conformance.Passed
		for _, id := range skipped {
			if id == result.ID {
				want = conformance.Skipped
			}
		}
		if result.Outcome != want {
			t.Errorf("%s: %s: %s", result.ID, result.Outcome, result.Detail)
		}
	}
}

func TestPythonExample(t *testing.T) {
	environment, client := certificate(t)
	service := start(t, "https", append(environment, "TOKEN=token-1\n", "TICKETS="+t.TempDir()), "python3", "python/tickets.py")
	check(t, conformance.Options{URL: service, Client: client, Token: "token-1", Params: []byte(`{"autoApprove":true}`)}, "notify")
}

func TestShellExample(t *testing.T) {
	service := start(t, "http", []string{"TOKEN=token-1\n", "INVENTORY=" + t.TempDir()}, "python3", "shell/wrapper.py", "shell/cleanup.sh")
	check(t, conformance.Options{URL: service, Token: "token-1"}, "preview", "verify", "notify")
}

func TestGoExample(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "inventory")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./go").CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, output)
	}
	environment, client := certificate(t)
	service := start(t, "https", append(environment, "HMAC_SECRET=secret-1"), binary)
	check(t, conformance.Options{URL: service, Client: client, HMACSecret: []byte("secret-1")}, "notify")
}

func TestShortPythonExample(t *testing.T) {
	service := start(t, "http", []string{"TOKEN=token-1\n", "BACKUPS=" + t.TempDir()}, "python3", "python/backup.py")
	check(t, conformance.Options{URL: service, Token: "token-1", Params: []byte(`{"skip":true}`)}, "preview", "verify", "notify")
}

// Requests for the same Node can overlap. Each call of the script ends with Done or InProgress, and the work ends.
func TestShellExampleOverlaps(t *testing.T) {
	const calls, rounds = 8, 10
	inventory := t.TempDir()
	for round := range rounds {
		codes := make([]int, calls)
		for range 3 { // Two records, and the call that finds none.
			var running sync.WaitGroup
			for call := range calls {
				running.Go(func() {
					command := exec.CommandContext(t.Context(), "shell/cleanup.sh")
					command.Env = append(os.Environ(), "INVENTORY="+inventory, "NODE_NAME=worker", fmt.Sprint("NODE_UID=", round))
					output, err := command.CombinedOutput()
					if command.ProcessState == nil {
						t.Error(err)
						return
					}
					if codes[call] = command.ProcessState.ExitCode(); codes[call] != 0 && codes[call] != 75 {
						t.Errorf("exit code %d: %s", codes[call], output)
					}
				})
			}
			running.Wait()
		}
		for _, code := range codes {
			if code != 0 {
				t.Errorf("the last call ends with %d", code)
			}
		}
	}
}
