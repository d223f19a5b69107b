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

// NodeName removes the prefix node/, nodes/ or no/, as kubectl does.
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

// Annotate patches annotations if the node still has the same UID. A nil value removes the annotation. It
// returns the patched node.
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
		return nil, fmt.Errorf("annotating node %s: %w", node.Name, err)
	}
	current, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("annotating node %s: the node was deleted; no further action is needed", node.Name),
			Next: "See its cleanup history: kubectl nodecleanup history " + node.Name,
		}
	case apierrors.IsConflict(err), apierrors.IsInvalid(err):
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("annotating node %s with UID %s: %w", node.Name, node.UID, err),
			Next: "If the node was recreated with the same name, review its steps and run the command again. If the API server rejects the node as invalid, fix the field that the message names.",
		}
	case err != nil:
		return nil, fmt.Errorf("annotating node %s: %w", node.Name, err)
	}
	return current, nil
}

// TakeBack says how to remove the bypass from a live node.
func TakeBack(node string) string {
	return fmt.Sprintf("To remove the bypass: kubectl annotate node %s %s-", node, api.AnnotationBypass)
}

// HasLeader reports whether an agent in the namespace is the leader. It is true also if the lease cannot
// be read: then there is nothing to warn about. Now is the API server's time.
func HasLeader(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) bool {
	lease := cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: now}
	leadership, err := lease.Read(ctx)
	return err != nil || leadership.HasLeader
}

// NoLeader is the warning that no agent acts on a request.
func NoLeader(namespace string) string {
	return fmt.Sprintf("WARNING: no agent in namespace %s is the leader; this request waits until an agent becomes the leader.", namespace)
}

// WarnWithoutLeader says so where a request will wait for an agent.
func (e *Environment) WarnWithoutLeader(ctx context.Context, client kubernetes.Interface, namespace string) {
	if !HasLeader(ctx, client, namespace, e.ServerTime) {
		e.Say("%s", NoLeader(namespace))
	}
}

// Stamp is the time of a request, as the agent reads it.
func (e *Environment) Stamp() string { return e.ServerTime().UTC().Format(time.RFC3339Nano) }
