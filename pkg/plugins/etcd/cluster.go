package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// view is the etcd cluster, as the cleanup of one Node sees it.
type view struct {
	members []member
	// own is the member of the Node, nil if there is none. absent explains that.
	own    *member
	absent string
	// health of each member by ID.
	health map[string]health
}

// health of one member.
type health struct {
	status status
	// endpoint answers requests to the member.
	endpoint string
	// err is why the member is not healthy.
	err error
}

// view lists the members, and finds the one of the Node.
func (p *plugin) view(ctx context.Context, target cleanup.Target) (*view, error) {
	name, err := p.MemberName.Expand(target, nil)
	if err != nil {
		return nil, err
	}
	nodes, err := p.kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: labelControlPlane})
	if err != nil {
		return nil, fmt.Errorf("listing control plane nodes: %w", err)
	}
	members, err := p.list(ctx, p.endpoints(nodes.Items, target.Node))
	if err != nil {
		return nil, err
	}
	v := &view{members: members}
	v.own, v.absent, err = find(members, target.Node, name, nodes.Items)
	return v, err
}

// endpoints returns the client URLs to ask. That of the Node itself is the last one.
func (p *plugin) endpoints(nodes []corev1.Node, except *corev1.Node) []string {
	if len(p.Endpoints) > 0 {
		return p.Endpoints
	}
	var endpoints, last []string
	for i := range nodes {
		for _, address := range nodes[i].Status.Addresses {
			parsed, err := netip.ParseAddr(address.Address)
			if err != nil || address.Type != corev1.NodeInternalIP {
				continue
			}
			endpoint := "https://" + netip.AddrPortFrom(parsed, 2379).String()
			if except != nil && nodes[i].UID == except.UID {
				last = append(last, endpoint)
			} else {
				endpoints = append(endpoints, endpoint)
			}
		}
	}
	return append(endpoints, last...)
}

// list returns the members. Only a cluster with a quorum answers.
func (p *plugin) list(ctx context.Context, endpoints []string) ([]member, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("listing the members of etcd: no control plane node has an InternalIP. Next: set the option endpoints")
	}
	var failed []error
	for _, endpoint := range endpoints {
		var answer members
		err := p.call(ctx, endpoint, pathList, readTimeout, map[string]bool{"linearizable": true}, &answer)
		if err == nil && len(answer.Members) > 0 {
			return answer.Members, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			err = errors.New(hostOf(endpoint) + ": the list is empty")
		}
		failed = append(failed, err)
	}
	const shown = 3
	return nil, fmt.Errorf("listing the members of etcd: %w", retriable(errors.Join(failed[:min(shown, len(failed))]...)))
}

// find returns the member of a Node: a peer URL has an address of the Node, and it has the expected name. The address alone is not
// enough, because a new Node can have the address of an old one; the name alone is not, because a host can change its address. A
// member that was added and never started has no name.
func find(members []member, node *corev1.Node, name string, nodes []corev1.Node) (own *member, absent string, err error) {
	var here []member
	for _, one := range members {
		switch located := at(one, node); {
		case located:
			here = append(here, one)
		case one.Name == name:
			return nil, "", cleanup.Permanent(fmt.Errorf("finding the etcd member of node %s: %s has the peer URLs %s, which have no address of the node. "+
				"Next: remove the member yourself if it is that of the node: etcdctl member remove", node.Name, one, strings.Join(one.PeerURLs, ", ")))
		}
	}
	switch {
	case len(here) == 0:
		return nil, fmt.Sprintf("no etcd member has the name %s or an address of the node", name), nil
	case len(here) > 1:
		return nil, "", cleanup.Permanent(fmt.Errorf("finding the etcd member of node %s: several have an address of the node: %s. "+
			"Next: remove those that are not needed: etcdctl member remove", node.Name, names(here)))
	case here[0].Name == name || here[0].Name == "":
		return &here[0], "", nil
	}
	for i := range nodes {
		if nodes[i].Name == here[0].Name && nodes[i].UID != node.UID && at(here[0], &nodes[i]) {
			return nil, fmt.Sprintf("the address of the node now belongs to node %s and its etcd member", nodes[i].Name), nil
		}
	}
	return nil, "", cleanup.Permanent(fmt.Errorf("finding the etcd member of node %s: %s has an address of the node, but not the name %s. "+
		"Next: set the option memberName, or remove the member yourself: etcdctl member remove", node.Name, here[0], name))
}

// at reports whether a peer URL of the member has an address of the Node.
func at(one member, node *corev1.Node) bool {
	for _, text := range one.PeerURLs {
		peer, err := url.Parse(text)
		if err != nil {
			continue
		}
		for _, address := range node.Status.Addresses {
			if sameHost(peer.Hostname(), address.Address) {
				return true
			}
		}
	}
	return false
}

func sameHost(a, b string) bool {
	first, err := netip.ParseAddr(a)
	if err != nil {
		return a != "" && strings.EqualFold(a, b)
	}
	second, err := netip.ParseAddr(b)
	return err == nil && first.Unmap() == second.Unmap()
}

// examine asks every member for its status, all at the same time.
func (p *plugin) examine(ctx context.Context, v *view) {
	v.health = map[string]health{}
	var mutex sync.Mutex
	var group sync.WaitGroup
	for _, one := range v.members {
		group.Go(func() {
			found := p.healthOf(ctx, one)
			mutex.Lock()
			defer mutex.Unlock()
			v.health[one.ID] = found
		})
	}
	group.Wait()
}

func (p *plugin) healthOf(ctx context.Context, one member) health {
	if len(one.ClientURLs) == 0 {
		return health{err: errors.New("it was never started")}
	}
	var failed error
	for _, endpoint := range one.ClientURLs {
		found := health{endpoint: endpoint}
		if failed = p.call(ctx, endpoint, pathStatus, readTimeout, struct{}{}, &found.status); failed != nil {
			continue
		}
		found.err = found.status.fault(one.ID)
		return found
	}
	return health{err: failed}
}

// fault returns why the member with that ID does not count for a quorum. An alarm about space does not matter: each member
// reports it for all of them, and the members vote nevertheless.
func (s status) fault(id string) error {
	if s.Leader == "" || s.Leader == "0" {
		return errors.New("it has no leader")
	}
	for _, text := range s.Errors {
		if strings.Contains(text, "CORRUPT") && strings.Contains(text, "memberID:"+id) {
			return errors.New("it has the alarm CORRUPT")
		}
	}
	return nil
}

// unsafe returns why the member must not be removed now, nil if it can be: the remaining voting members need a quorum of healthy
// ones. An error that no retry can change is permanent.
func (v *view) unsafe() error {
	if v.own.IsLearner {
		return nil // It does not vote.
	}
	voting, healthy := 0, 0
	var unhealthy []string
	for _, one := range v.members {
		if one.IsLearner || one.ID == v.own.ID {
			continue
		}
		voting++
		if err := v.health[one.ID].err; err != nil {
			unhealthy = append(unhealthy, fmt.Sprintf("%s (%v)", one, err))
		} else {
			healthy++
		}
	}
	quorum := voting/2 + 1
	switch {
	case voting == 0:
		return cleanup.Permanent(fmt.Errorf("removing %s from etcd: it is the last voting member", v.own))
	case healthy < quorum:
		return fmt.Errorf("removing %s from etcd: %d of the %d remaining voting members are healthy, and %d are needed; not healthy: %s",
			v.own, healthy, voting, quorum, strings.Join(unhealthy, "; "))
	}
	return nil
}

// leads reports whether a member says that the member of the Node is the leader.
func (v *view) leads() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(v.health)), func(h health) bool { return h.err == nil && h.status.Leader == v.own.ID })
}

// successor returns the healthy voting member that has applied the most, other than that of the Node.
func (v *view) successor() *member {
	var best *member
	var most int64
	for i := range v.members {
		one := &v.members[i]
		if found := v.health[one.ID]; !one.IsLearner && one.ID != v.own.ID && found.err == nil {
			if applied, _ := found.status.RaftAppliedIndex.Int64(); best == nil || applied > most {
				best, most = one, applied
			}
		}
	}
	return best
}

func names(members []member) string {
	var texts []string
	for _, one := range members {
		texts = append(texts, one.String())
	}
	return strings.Join(texts, ", ")
}
