package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// maxListed limits how many items a prompt, a report or a progress display lists.
const maxListed = 10

// Nodes are the Nodes that a command is called for: names, or a label selector.
type Nodes struct {
	// Names are without their kind, each once, as given.
	Names    []string
	Selector string
}

// AddSelector adds -l.
func (n *Nodes) AddSelector(flags *pflag.FlagSet) {
	flags.StringVarP(&n.Selector, "selector", "l", "", "Label selector of the nodes, instead of names")
}

// Arguments requires either names of Nodes or a selector.
func (n *Nodes) Arguments(cmd *cobra.Command, arguments []string) error {
	switch {
	case n.Selector != "" && len(arguments) > 0:
		return exit.Usagef("%s takes names of nodes or --selector, not both", cmd.CommandPath())
	case n.Selector == "" && len(arguments) == 0:
		return exit.Usagef("%s takes the name of one node or more, or --selector", cmd.CommandPath())
	}
	if _, err := labels.Parse(n.Selector); err != nil {
		return exit.Usagef("--selector: %w", err)
	}
	for _, argument := range arguments {
		name := NodeName(argument)
		if strings.TrimSpace(name) == "" || strings.Contains(name, "/") {
			return exit.Usagef("%s: invalid node name %q", cmd.CommandPath(), argument)
		}
		if !slices.Contains(n.Names, name) {
			n.Names = append(n.Names, name)
		}
	}
	return nil
}

// One reports whether the command is called for one Node by its name.
func (n *Nodes) One() bool { return len(n.Names) == 1 }

// Read returns the Nodes, at least one. An error names every Node that does not exist.
func (n *Nodes) Read(ctx context.Context, client kubernetes.Interface) ([]*corev1.Node, error) {
	if n.Selector != "" {
		return n.selected(ctx, client)
	}
	var nodes []*corev1.Node
	var missing []string
	for _, name := range n.Names {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, name)
		case err != nil:
			return nil, fmt.Errorf("reading node %s: %w", name, err)
		default:
			nodes = append(nodes, node)
		}
	}
	if len(missing) > 0 {
		return nil, absent(missing)
	}
	return nodes, nil
}

func (n *Nodes) selected(ctx context.Context, client kubernetes.Interface) ([]*corev1.Node, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: n.Selector})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("listing nodes: no node matches selector %q", n.Selector),
			Next: "List the node labels: kubectl get nodes --show-labels",
		}
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}

// absent is about Nodes that do not exist.
func absent(names []string) error {
	what, may := "node "+names[0], "it may already have been deleted"
	if len(names) > 1 {
		what, may = "nodes "+strings.Join(names, ", "), "they may already have been deleted; nothing was changed"
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("reading %s: not found; %s", what, may),
		Next: fmt.Sprintf("See the nodes that are being cleaned up: kubectl nodecleanup status. See past cleanups: kubectl nodecleanup history %s", names[0]),
	}
}

// Bounded returns the first of many items, and the number of the others.
func Bounded[T any](all []T) (first []T, more int) {
	first = all[:min(len(all), maxListed)]
	return first, len(all) - len(first)
}
