//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kubernetescluster "github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

// canary is the beginning of every secret of the services.
const canary = "canary-4d7c"

// secretOf returns the secret with which a service is called. It has 32 characters, as PagerDuty demands.
func secretOf(service string) string {
	return strings.ReplaceAll(fmt.Sprintf("%-32s", canary+"-"+service), " ", "0")
}

// services plays other systems, each below its own path, for steps of one Node at a time. The tests of each plugin run
// against the real system or a strict fake; here, the answers are only what a success needs.
type services struct {
	URL string

	mutex sync.Mutex
	// changes are the requests that changed something: "grafana POST /api/annotations".
	changes []string
	// broken makes each request fail with an answer that contains the whole request.
	broken bool
	// incident is the incident in ServiceNow, annotation the one in Grafana, nil if there is none.
	incident, annotation map[string]any
}

func newServices(t *testing.T) *services {
	t.Helper()
	address, err := node.Address()
	if err != nil {
		t.Fatal(err)
	}
	s := &services{}
	server := httptest.NewUnstartedServer(s)
	server.Listener.Close()
	if server.Listener, err = net.Listen("tcp4", address.String()+":0"); err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// ServeHTTP implements http.Handler.
func (s *services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.broken {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "cannot handle %s %s %v %s", r.Method, r.RequestURI, r.Header, body)
		return
	}
	service, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !strings.Contains(r.URL.Path+r.Header.Get("Authorization")+r.Header.Get("X-Sn-Apikey")+string(body), secretOf(service)) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet {
		s.changes = append(s.changes, service)
	}
	switch service {
	case "slack":
		fmt.Fprint(w, "ok")
	case "pagerduty":
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"status":"success"}`)
	case "inventory":
	case "grafana":
		s.grafana(w, r.Method, body)
	case "servicenow":
		s.serviceNow(w, r, path, body)
	case "netbox":
		s.netBox(w, r, path)
	case "cmdb":
		s.cmdb(w, r)
	default:
		http.NotFound(w, r)
	}
}

func answer(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(document) // The client has ended the connection.
}

func (s *services) grafana(w http.ResponseWriter, method string, body []byte) {
	switch method {
	case http.MethodGet:
		found := []any{}
		if s.annotation != nil {
			found = append(found, s.annotation)
		}
		answer(w, http.StatusOK, found)
	case http.MethodPost:
		s.annotation = map[string]any{"id": 1}
		if err := json.Unmarshal(body, &s.annotation); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, http.StatusOK, map[string]any{"id": 1, "message": "Annotation added"})
	default:
		answer(w, http.StatusOK, map[string]any{"message": "Annotation patched"})
	}
}

func (s *services) serviceNow(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	if r.Method == http.MethodGet {
		found := []any{}
		if s.incident != nil && strings.HasPrefix(r.URL.Query().Get("sysparm_query"), "correlation_id="+fmt.Sprint(s.incident["correlation_id"])) {
			found = append(found, s.incident)
		}
		answer(w, http.StatusOK, map[string]any{"result": found})
		return
	}
	changed := map[string]any{}
	if err := json.Unmarshal(body, &changed); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	code := http.StatusOK
	if r.Method == http.MethodPost {
		s.incident, code = map[string]any{"sys_id": strings.Repeat("a", 32), "number": "INC0000001", "state": "1", "active": "true"}, http.StatusCreated
	}
	maps.Copy(s.incident, changed)
	answer(w, code, map[string]any{"result": s.incident})
}

func (s *services) netBox(w http.ResponseWriter, r *http.Request, path string) {
	device := map[string]any{"id": 7, "name": r.URL.Query().Get("name__ie"), "status": map[string]any{"value": "active"}}
	switch path {
	case "api/status/":
		answer(w, http.StatusOK, map[string]any{"netbox-version": "4.5.0"})
	case "api/dcim/devices/":
		answer(w, http.StatusOK, map[string]any{"count": 1, "results": []any{device}})
	default:
		answer(w, http.StatusOK, device)
	}
}

func (s *services) cmdb(w http.ResponseWriter, r *http.Request) {
	machine := map[string]any{"id": "5", "name": r.URL.Query().Get("name")}
	if r.Method == http.MethodGet {
		answer(w, http.StatusOK, map[string]any{"results": []any{machine}})
		return
	}
	answer(w, http.StatusOK, machine)
}

// changed returns the services in which something was changed, sorted.
func (s *services) changed() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.changes)))
}

func (s *services) fail() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.broken = true
}

// startAlertmanager starts a real Alertmanager that Pods can reach, and returns its URL.
func startAlertmanager(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("skipped: there is no prometheus-alertmanager on the PATH (Debian: apt-get install prometheus-alertmanager)")
	}
	address, err := node.Address()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", address.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	listen := listener.Addr().String()
	listener.Close()
	folder := t.TempDir()
	config := filepath.Join(folder, "config.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	process := kubernetescluster.NewProcess(kubernetescluster.Command{
		Name: "alertmanager", Path: path,
		Args: []string{"--config.file=" + config, "--storage.path=" + filepath.Join(folder, "data"), "--web.listen-address=" + listen, "--cluster.listen-address="},
	}, folder)
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listen
}

// silences returns the states of the silences of a Node.
func silences(t *testing.T, alertmanager, node string) []string {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(alertmanager + "/api/v2/silences")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var found []struct {
		Status   struct{ State string }
		Matchers []struct{ Name, Value string }
	}
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, one := range found {
		for _, matcher := range one.Matchers {
			if matcher.Name == "node" && matcher.Value == node {
				states = append(states, one.Status.State)
			}
		}
	}
	return states
}
