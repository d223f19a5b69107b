package command

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// serverOf answers as an API server of a version. Asked tells whether it was asked for it.
func serverOf(t *testing.T, gitVersion string) (server *httptest.Server, asked *bool) {
	t.Helper()
	asked = new(bool)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Path == "/version"
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(version.Info{GitVersion: gitVersion}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server, asked
}

func TestMatchServerVersion(t *testing.T) {
	for gitVersion, want := range map[string]string{
		"v" + clientVersion + ".0":                 "",
		"v" + clientVersion + ".7-gke.100":         "",
		"v" + clientVersion + ".2+k3s1":            "",
		"v" + clientVersion + ".0-alpha.1.5+abcde": "",
		"v1.30.0": "server version v1.30.0 differs from client version " + clientVersion,
		"v1.3.7":  "differs from client version",
		"v2.37.0": "server version v2.37.0 differs",
		"unknown": `the server version is "unknown"`,
	} {
		server, asked := serverOf(t, gitVersion)
		_, err := parsed(t, "--server", server.URL, "--match-server-version", "--cache-dir", t.TempDir()).Clients()
		switch {
		case !*asked:
			t.Errorf("%s: the server was not asked", gitVersion)
		case want == "" && err != nil:
			t.Errorf("%s: %v", gitVersion, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || exit.Code(t.Context(), err) != exit.Failure || !strings.Contains(Next(err), "leave --match-server-version out")):
			t.Errorf("%s: %v; next: %s", gitVersion, err, Next(err))
		}
	}
}

func TestServerVersionIsReadOnlyByFlag(t *testing.T) {
	server, asked := serverOf(t, "v1.2.3")
	if _, err := parsed(t, "--server", server.URL).Clients(); err != nil || *asked {
		t.Errorf("without the flag: asked %v, %v", *asked, err)
	}
	cache := t.TempDir()
	if _, err := parsed(t, "--server", server.URL, "--match-server-version", "--cache-dir", cache).Clients(); err == nil || !*asked {
		t.Errorf("with the flag: asked %v, %v", *asked, err)
	}
	if files, err := os.ReadDir(filepath.Join(cache, "http")); err != nil || len(files) == 0 {
		t.Errorf("nothing is cached in --cache-dir: %v", err)
	}
	server.Close()
	_, err := parsed(t, "--server", server.URL, "--match-server-version", "--cache-dir", t.TempDir()).Clients()
	if err == nil || !strings.Contains(err.Error(), "reading the server's version for --match-server-version") || !strings.Contains(Next(err), "cannot be reached") {
		t.Errorf("of a server that does not answer: %v; next: %s", err, Next(err))
	}
}

// The constant is of component-base; the client is client-go.
func TestClientVersionMatchesClientGo(t *testing.T) {
	module, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	of := regexp.MustCompile(`\tk8s\.io/client-go v0\.(\d+)\.`).FindSubmatch(module)
	if of == nil || clientVersion != "1."+string(of[1]) {
		t.Errorf("client-go is %q, and the client version is %s", of, clientVersion)
	}
}
