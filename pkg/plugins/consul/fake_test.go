package consul

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

const token = "canary-5d1c"

// cluster is a Consul cluster with one HTTP API. Its rules are those of
// https://developer.hashicorp.com/consul/api-docs/catalog, .../health, .../agent#force-leave-and-shutdown, and of
// agent/catalog_endpoint.go and agent/agent_endpoint.go in github.com/hashicorp/consul.
type cluster struct {
	t      *testing.T
	server *httptest.Server
	mutex  sync.Mutex
	nodes  map[string]entry
	// members are the states of the agents: alive, failed or left.
	members map[string]string
	leader  string
	// unreadable are the nodes that the token may not read.
	unreadable map[string]bool
	changes    []string
	plugintest.Override
	// changed, if it is not nil, is called after each change, with the lock.
	changed func()
	// asked, if it is not nil, is called for each request about the health of a node, with the lock.
	asked func(name string)
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, nodes: map[string]entry{}, members: map[string]string{}, leader: "10.1.10.12:8300", unreadable: map[string]bool{}}
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

// add adds a node to the catalog, and its agent with a state, or none if the state is empty.
func (c *cluster) add(one entry, state string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.nodes[one.Node] = one
	delete(c.members, one.Node)
	if state != "" {
		c.members[one.Node] = state
	}
}

func (c *cluster) has(name string) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	_, has := c.nodes[name]
	return has
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.Overrides(w, r) {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if r.URL.Path == "/v1/status/leader" { // It needs no token.
		c.write(w, c.leader)
		return
	}
	if r.Header.Get("X-Consul-Token") != token {
		http.Error(w, "rpc error making call: ACL not found", http.StatusForbidden)
		return
	}
	get, put := r.Method == http.MethodGet, r.Method == http.MethodPut
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case get && strings.HasPrefix(r.URL.Path, "/v1/catalog/node/"):
		c.catalog(w, name)
	case get && strings.HasPrefix(r.URL.Path, "/v1/health/node/"):
		c.health(w, name)
	case put && strings.HasPrefix(r.URL.Path, "/v1/agent/force-leave/"):
		c.forceLeave(w, name)
	case put && r.URL.Path == "/v1/catalog/deregister":
		var request struct{ Node string }
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil || request.Node == "" {
			c.t.Errorf("deregister %+v: %v", request, err)
		}
		c.deregister(request.Node)
		c.write(w, true)
	default:
		c.t.Errorf("%s %s", r.Method, r.URL.Path)
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// catalog answers null for a node that does not exist. It also finds a node by at least ten characters of its ID.
func (c *cluster) catalog(w http.ResponseWriter, name string) {
	one, found := c.nodes[name]
	for _, other := range c.nodes {
		if !found && len(name) >= 10 && strings.HasPrefix(other.ID, name) {
			one, found = other, true
		}
	}
	if c.unreadable[name] {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
		found = false
	}
	if !found {
		c.write(w, nil)
		return
	}
	c.write(w, map[string]any{"Node": one, "Services": map[string]any{}})
}

func (c *cluster) health(w http.ResponseWriter, name string) {
	if c.asked != nil {
		c.asked(name)
	}
	checks := []map[string]string{{"CheckID": "disk", "Status": "passing"}}
	switch c.members[name] {
	case "alive":
		checks = append(checks, map[string]string{"CheckID": "serfHealth", "Status": "passing"})
	case "failed":
		checks = append(checks, map[string]string{"CheckID": "serfHealth", "Status": "critical"})
	}
	c.write(w, checks)
}

func (c *cluster) forceLeave(w http.ResponseWriter, name string) {
	switch c.members[name] {
	case "":
		http.Error(w, "agent: No node found with name '"+name+"'", http.StatusInternalServerError) // consul#21878
		return
	case "alive":
		c.t.Errorf("force-leave of %s, whose agent runs: it will rejoin", name)
	default:
		c.members[name] = "left" // The leader removes it from the catalog later.
	}
	c.change("force-leave " + name)
}

// deregister removes a node. Its agent registers it again, and the leader does so for a failed agent
// (agent/consul/leader.go).
func (c *cluster) deregister(name string) {
	if state := c.members[name]; state != "alive" && state != "failed" {
		delete(c.nodes, name)
	}
	c.change("deregister " + name)
}

func (c *cluster) change(text string) {
	c.changes = append(c.changes, text)
	if c.changed != nil {
		c.changed()
	}
}

func (c *cluster) write(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(document); err != nil {
		c.t.Error(err)
	}
}
