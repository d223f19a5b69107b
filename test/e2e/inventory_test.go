//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/node"
)

// inventory is another system that is notified when a Node is deleted.
type inventory struct {
	URL string

	mu       sync.Mutex
	received []string
}

// newInventory starts one that Pods can reach.
func newInventory(t *testing.T) *inventory {
	t.Helper()
	address, err := node.Address()
	if err != nil {
		t.Fatal(err)
	}
	i := &inventory{}
	server := httptest.NewUnstartedServer(i)
	server.Listener.Close()
	if server.Listener, err = net.Listen("tcp4", address.String()+":0"); err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(server.Close)
	i.URL = server.URL + "/nodes"
	return i
}

func (i *inventory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var document struct {
		Node struct {
			Name string `json:"name"`
		} `json:"node"`
	}
	if err := json.NewDecoder(r.Body).Decode(&document); err != nil {
		http.Error(w, fmt.Sprint("reading the document: ", err), http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.received = append(i.received, document.Node.Name)
}

// knows reports whether it was notified of a Node, once.
func (i *inventory) knows(node string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(i.received), func(name string) bool { return name != node })) == 1
}
