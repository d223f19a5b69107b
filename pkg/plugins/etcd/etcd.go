package etcd

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	kubernetes kubernetes.Interface
	client     *http.Client
	secrets    cleanup.Secrets
	// slot is taken by the step that changes the cluster. etcd drops a change of its members during another one, and each step needs
	// the members that the previous one has left.
	slot chan struct{}

	mutex sync.Mutex
	apis  map[string]*httpclient.API
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	select {
	case p.slot <- struct{}{}:
		defer func() { <-p.slot }()
	case <-ctx.Done():
		return fmt.Errorf("waiting until another member is removed from etcd: %w", context.Cause(ctx))
	}
	v, err := p.view(ctx, target)
	switch {
	case err != nil:
		return err
	case v.own == nil:
		target.Log.Info("nothing to remove from etcd", "reason", v.absent)
		return nil
	}
	p.examine(ctx, v)
	if err := v.unsafe(); err != nil {
		return err
	}
	successor := v.successor()
	if successor == nil { // A learner leaves a cluster whose voting members do not answer.
		return fmt.Errorf("removing %s from etcd: no other voting member is healthy", v.own)
	}
	if v.leads() {
		if err := p.moveLeader(ctx, target, v, successor); err != nil {
			return err
		}
	}
	target.Progress(fmt.Sprintf("removing %s from etcd", v.own))
	var answer members
	err = p.call(ctx, v.health[successor.ID].endpoint, pathRemove, writeTimeout, map[string]string{"ID": v.own.ID}, &answer)
	switch {
	case httpclient.StatusCode(err) == http.StatusNotFound: // Another client has removed it.
	case err != nil:
		return fmt.Errorf("removing %s from etcd: %w", v.own, retriable(err))
	case slices.ContainsFunc(answer.Members, func(one member) bool { return one.ID == v.own.ID }):
		return fmt.Errorf("removing %s from etcd: it is still a member", v.own)
	}
	target.Log.Info("removed a member from etcd", "member", v.own.Name, "id", v.own.ID, "remaining", len(v.members)-1)
	return nil
}

// moveLeader makes another member the leader. Only the leader accepts the request. Without it, the removal of the leader causes an
// election, during which the API servers cannot write.
func (p *plugin) moveLeader(ctx context.Context, target cleanup.Target, v *view, to *member) error {
	failed := func(err error) error {
		return fmt.Errorf("moving the leadership of etcd from %s to %s: %w", v.own, to, err)
	}
	leader := v.health[v.own.ID]
	if leader.endpoint == "" {
		return failed(fmt.Errorf("the leader does not answer: %w", leader.err))
	}
	target.Progress(fmt.Sprintf("moving the leadership of etcd from %s to %s", v.own, to))
	if err := p.call(ctx, leader.endpoint, pathMove, writeTimeout, map[string]string{"targetID": to.ID}, nil); err != nil {
		return failed(retriable(err))
	}
	target.Log.Info("moved the leadership of etcd", "from", v.own.Name, "to", to.Name)
	return nil
}

// Verify implements cleanup.Verifier: etcd has no member of the Node.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	v, err := p.view(ctx, target)
	if err != nil || v.own == nil {
		return "", err
	}
	return v.own.String() + " is in the etcd cluster", nil
}

// CheckHealth implements cleanup.HealthChecker: it lists the members of etcd.
func (p *plugin) CheckHealth(ctx context.Context) error {
	nodes, err := p.kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: labelControlPlane})
	if err != nil {
		return fmt.Errorf("listing control plane nodes: %w", err)
	}
	_, err = p.list(ctx, p.endpoints(nodes.Items, nil))
	return err
}

// Rules implements cleanup.RuleRequirer.
func (p *plugin) Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"list"}}}
}
