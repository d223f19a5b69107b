package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Connect returns clients and the agent's namespace.
func (c *Cluster) Connect(ctx context.Context) (Clients, string, error) {
	clients, err := c.Clients()
	if err != nil {
		return Clients{}, "", err
	}
	namespace, err := c.Namespace(ctx, clients.Typed)
	return clients, namespace, err
}

// NodeName takes "ip-10-0-7" and, as kubectl does, "node/ip-10-0-7" and "nodes/ip-10-0-7".
func NodeName(argument string) string {
	for _, kind := range []string{"node/", "nodes/", "no/"} {
		if name, is := strings.CutPrefix(argument, kind); is {
			return name
		}
	}
	return argument
}

// Node reads a node by its name.
func Node(ctx context.Context, client kubernetes.Interface, name string) (*corev1.Node, error) {
	named := Nodes{Names: []string{name}}
	nodes, err := named.Read(ctx, client)
	if err != nil {
		return nil, err
	}
	return nodes[0], nil
}

// Annotate sets annotations on the node that was looked at, and on no other that
// has come under its name since. A nil value takes one off. It returns the node as it is then.
func Annotate(ctx context.Context, client kubernetes.Interface, node *corev1.Node, annotations map[string]any) (*corev1.Node, error) {
	return annotate(ctx, client, node, map[string]any{"uid": node.UID, "annotations": annotations})
}

// AnnotateUnchanged is Annotate, but it returns a conflict if the node has changed since it was read.
func AnnotateUnchanged(ctx context.Context, client kubernetes.Interface, node *corev1.Node, annotations map[string]any) (*corev1.Node, error) {
	return annotate(ctx, client, node, map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion, "annotations": annotations})
}

func annotate(ctx context.Context, client kubernetes.Interface, node *corev1.Node, metadata map[string]any) (*corev1.Node, error) {
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, fmt.Errorf("marking node %s: %w", node.Name, err)
	}
	current, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("marking node %s: it was deleted in the meantime; there is nothing left to do for it", node.Name),
			Next: "See what became of it: kubectl nodecleanup history " + node.Name,
		}
	case apierrors.IsConflict(err), apierrors.IsInvalid(err):
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("marking node %s with UID %s: %w", node.Name, node.UID, err),
			Next: "If the node was recreated under its name, run it again and look at what it would leave undone. If the node itself is invalid, fix what the message names.",
		}
	case err != nil:
		return nil, fmt.Errorf("marking node %s: %w", node.Name, err)
	}
	return current, nil
}

// TakeBack says how to remove the bypass from a live node.
func TakeBack(node string) string {
	return fmt.Sprintf("To remove the bypass: kubectl annotate node %s %s-", node, api.AnnotationBypass)
}

// Leads reports whether an agent leads in the namespace. It is true also if the lease cannot
// be read: then there is nothing to warn about. Now is the API server's time.
func Leads(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) bool {
	lease := cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: now}
	leadership, err := lease.Read(ctx)
	return err != nil || leadership.Leads
}

// NoLeader is the warning that no agent acts on a request.
func NoLeader(namespace string) string {
	return fmt.Sprintf("WARNING: no agent in namespace %s is leading: the request waits until one does.", namespace)
}

// WarnWithoutLeader says so where a request will wait for an agent.
func (e *Environment) WarnWithoutLeader(ctx context.Context, client kubernetes.Interface, namespace string) {
	if !Leads(ctx, client, namespace, e.ServerTime) {
		e.Say("%s", NoLeader(namespace))
	}
}

// Stamp is the time of a request, as the agent reads it.
func (e *Environment) Stamp() string { return e.ServerTime().UTC().Format(time.RFC3339Nano) }
