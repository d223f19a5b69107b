package portworx

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

// pollPeriod is the time between two reads of the cluster. Each reads every volume, and each change takes minutes.
const pollPeriod = 20 * time.Second

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	progress := "reading the Portworx cluster"
	for {
		text, err := p.advance(ctx, target)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", progress, context.Cause(ctx))
		case err != nil && transient(err):
			target.Progress(progress + "; retrying: " + err.Error())
		case err != nil || text == "":
			return err
		default:
			progress = text
			target.Progress(text)
		}
		if err := sleep.For(ctx, p.clock, pollPeriod); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// transient reports whether the step tries the same again in the same attempt. The gateway does not answer while
// Portworx elects a new leader of its KVDB. If an answer has Retry-After, the agent waits instead.
func transient(err error) bool {
	_, given := cleanup.RetryDelay(err)
	return !given && !cleanup.IsPermanent(err) && (api.Retriable(err) || httpclient.StatusCode(err) >= 500)
}

// advance does the next thing, and returns "" if the step is done. Otherwise it describes what the step waits for.
func (p *plugin) advance(ctx context.Context, target cleanup.Target) (progress string, err error) {
	current, err := p.sameNode(ctx, target)
	if err != nil {
		return "", err
	}
	nodes, found, err := p.find(ctx, current)
	if err != nil {
		return "", err
	}
	if found == nil {
		target.Log.Info("the Portworx cluster does not have the node")
		return "", nil
	}
	observed, err := p.observe(ctx, current, nodes, *found)
	if err != nil {
		return "", err
	}
	target.Count(cleanup.Counts{Done: observed.volumes - len(observed.last), Total: observed.volumes})
	todo := next(observed)
	switch {
	case todo.remove:
		target.Progress(todo.wait)
		if err := p.record(ctx, current, found.ID); err != nil {
			return "", err
		}
		return todo.wait, p.remove(ctx, target, found.ID)
	case todo.label != "":
		return todo.wait, p.label(ctx, current, todo.label, todo.value)
	}
	return todo.wait, nil
}

// sameNode returns the Node as it is. A new Node of the same name has its own data.
func (p *plugin) sameNode(ctx context.Context, target cleanup.Target) (*corev1.Node, error) {
	current, err := p.kubernetes.CoreV1().Nodes().Get(ctx, target.Node.Name, metav1.GetOptions{})
	switch {
	case api.Absent(err) || err == nil && current.UID != target.Node.UID:
		return nil, cleanup.Permanent(fmt.Errorf("removing node %s from Portworx: the node with UID %s no longer exists", target.Node.Name, target.Node.UID))
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", target.Node.Name, err)
	}
	return current, nil
}

// find returns all nodes of the Portworx cluster, and that of a Node, or nil.
func (p *plugin) find(ctx context.Context, of *corev1.Node) (all []node, found *node, err error) {
	if all, err = p.sdk.nodes(ctx); err != nil {
		return nil, nil, err
	}
	for i := range all {
		switch {
		case !all[i].isOf(of):
		case found != nil:
			return nil, nil, fmt.Errorf("the Portworx cluster has two nodes for node %s: %s and %s. Next: remove the one that is stale with pxctl cluster delete", of.Name, found.ID, all[i].ID)
		default:
			found = &all[i]
		}
	}
	return all, found, nil
}

// isOf reports whether a node of the Portworx cluster is that of a Node. Without a name, Portworx's operator, too,
// compares the addresses: see updateStorageNodes in
// https://github.com/libopenstorage/operator/blob/master/drivers/storage/portworx/status.go.
func (n node) isOf(of *corev1.Node) bool {
	if n.SchedulerNodeName != "" {
		return n.SchedulerNodeName == of.Name
	}
	return slices.ContainsFunc(of.Status.Addresses, func(one corev1.NodeAddress) bool {
		return one.Address != "" && slices.Contains([]string{n.DataIP, n.MgmtIP, n.Hostname}, one.Address)
	})
}

// observe reads everything that the decision needs.
func (p *plugin) observe(ctx context.Context, current *corev1.Node, nodes []node, found node) (state, error) {
	s := state{hostReady: api.Ready(current), service: current.Labels[labelService], enabled: current.Labels[labelEnabled], status: found.Status}
	var err error
	if s.kvdb, err = p.kvdbMember(ctx, current.Name); err != nil {
		return state{}, err
	}
	s.holding, err = p.hold(ctx, nodes, found.ID)
	return s, err
}

// hold reads the volumes that have a copy on a node.
func (p *plugin) hold(ctx context.Context, nodes []node, id string) (holding, error) {
	usable, err := p.usable(ctx, nodes)
	if err != nil {
		return holding{}, err
	}
	var held holding
	err = p.sdk.volumes(ctx, func(one volume) {
		if one.has(id) {
			held.add(one, id, usable)
		}
	})
	return held, err
}

// usable returns the nodes whose copies count: Portworx runs there, and no label stops it. Without the labels, two Nodes
// that are deleted at once could each rely on the other's copy.
func (p *plugin) usable(ctx context.Context, nodes []node) (map[string]bool, error) {
	usable := map[string]bool{}
	for _, one := range nodes {
		if one.Status != statusOK {
			continue
		}
		if one.SchedulerNodeName != "" {
			other, err := p.kubernetes.CoreV1().Nodes().Get(ctx, one.SchedulerNodeName, metav1.GetOptions{})
			if err != nil && !api.Absent(err) {
				return nil, fmt.Errorf("reading node %s: %w", one.SchedulerNodeName, err)
			}
			if err == nil && leaving(other.Labels[labelService], other.Labels[labelEnabled]) {
				continue
			}
		}
		usable[one.ID] = true
	}
	return usable, nil
}

// Verify implements cleanup.Verifier: the Portworx cluster does not have the node.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	current, err := p.sameNode(ctx, target)
	if err != nil {
		return "", err
	}
	_, found, err := p.find(ctx, current)
	if err != nil || found == nil {
		return "", err
	}
	return "the Portworx cluster has the node as " + found.ID, nil
}

// CheckHealth implements cleanup.HealthChecker: Portworx answers and lets the agent list nodes and volumes, the state of
// the KVDB can be read, and the API server would create the Job.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if _, err := p.sdk.nodes(ctx); err != nil {
		return err
	}
	if _, err := p.sdk.volumeIDs(ctx); err != nil {
		return err
	}
	if _, err := p.kvdbMember(ctx, "nodecleanup-health-check"); err != nil {
		return err
	}
	runner, err := p.runs("health-check", "")
	if err != nil {
		return err
	}
	return runner.CheckHealth(ctx)
}
