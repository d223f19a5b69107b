package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/nodeaddress"
)

// entry is a node in the catalog: https://developer.hashicorp.com/consul/api-docs/catalog.
type entry struct {
	ID, Node, Address string
	TaggedAddresses   map[string]string
	Meta              map[string]string
}

func newAPI(o options, client *http.Client, secrets cleanup.Secrets) *httpclient.API {
	api := &httpclient.API{System: "Consul", URL: o.URL, Client: client, Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle}, Inspect: unfiltered}
	if !o.Token.Empty() {
		api.Credentials = httpclient.Header(secrets, "X-Consul-Token", "", o.Token)
	}
	return api
}

// unfiltered returns an error if Consul has removed something from an answer that the token may not read. Without this
// check, a node that may not be read would look like one that does not exist.
func unfiltered(header http.Header) error {
	if header.Get("X-Consul-Results-Filtered-By-ACLs") == "true" {
		return cleanup.Permanent(errors.New("the token may not read the node: give it node:read"))
	}
	return nil
}

// look returns the node in the catalog, or nil.
func (p *plugin) look(ctx context.Context, name string) (*entry, error) {
	var found struct{ Node *entry }
	if err := p.api.Call(ctx, http.MethodGet, "v1/catalog/node/"+url.PathEscape(name), nil, &found); err != nil {
		return nil, err
	}
	// Consul also accepts the beginning of an ID in place of a name.
	if found.Node == nil || !strings.EqualFold(found.Node.Node, name) {
		return nil, nil
	}
	return found.Node, nil
}

// agentState is the state of the Consul agent of a node, as the other agents see it.
type agentState int

const (
	noAgent agentState = iota
	agentRuns
	agentFailed
)

// agent returns the state of the Consul agent of a node: the leader of Consul maintains the check serfHealth of each
// node that has an agent.
func (p *plugin) agent(ctx context.Context, name string) (agentState, error) {
	var checks []struct{ CheckID, Status string }
	if err := p.api.Call(ctx, http.MethodGet, "v1/health/node/"+url.PathEscape(name), nil, &checks); err != nil {
		return noAgent, err
	}
	for _, check := range checks {
		switch {
		case check.CheckID != "serfHealth":
		case check.Status == "passing":
			return agentRuns, nil
		default:
			return agentFailed, nil
		}
	}
	return noAgent, nil
}

// forceLeave makes a failed member of the cluster a member that left. An agent that runs would refute it.
func (p *plugin) forceLeave(ctx context.Context, name string) error {
	err := p.api.Call(ctx, http.MethodPut, "v1/agent/force-leave/"+url.PathEscape(name), nil, nil)
	// The status is 500 for a member that does not exist: https://github.com/hashicorp/consul/issues/21878.
	var status *httpclient.StatusError
	if errors.As(err, &status) && strings.Contains(status.Message, "No node found with name") {
		return nil
	}
	return err
}

// deregister removes a node, its services and its checks from the catalog. One that does not exist is no error.
func (p *plugin) deregister(ctx context.Context, name string) error {
	return p.api.Call(ctx, http.MethodPut, "v1/catalog/deregister", map[string]string{"Node": name}, nil)
}

// hostIP is the metadata with the address of the host, which Consul's Helm chart sets: there, the address of an agent
// is that of its Pod.
const hostIP = "host-ip"

// isOf reports whether an address of the entry is an address of the Node.
func (e entry) isOf(node *corev1.Node) bool {
	candidates := []string{e.Address, e.Meta[hostIP]}
	for _, address := range e.TaggedAddresses {
		candidates = append(candidates, address)
	}
	return slices.ContainsFunc(candidates, func(candidate string) bool { return nodeaddress.Has(node, candidate) })
}

// String names the entry.
func (e entry) String() string { return fmt.Sprintf("%s with address %s", e.Node, e.Address) }
