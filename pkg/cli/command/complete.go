package command

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// completeWithin keeps a shell from hanging on a cluster that does not answer.
const completeWithin = 3 * time.Second

// CompleteNode completes the name of one node.
func (e *Environment) CompleteNode(cmd *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd, arguments, nodesExcept(nil))
}

// CompleteNodes completes the names of several nodes: those that are not on the line yet.
func (e *Environment) CompleteNodes(cmd *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd, nil, nodesExcept(arguments))
}

func nodesExcept(arguments []string) func(context.Context, kubernetes.Interface) ([]string, error) {
	return func(ctx context.Context, client kubernetes.Interface) ([]string, error) {
		// Served from the API server's cache: names of a moment ago will do.
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return nil, err
		}
		found := names(list.Items, func(node corev1.Node) string { return node.Name })
		for _, argument := range arguments {
			found = slices.DeleteFunc(found, func(name string) bool { return name == NodeName(argument) })
		}
		return found, nil
	}
}

// CompleteRuns completes the names of nodes that have a run record, also of
// those that are deleted.
func (e *Environment) CompleteRuns(cmd *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd, arguments, func(ctx context.Context, client kubernetes.Interface) ([]string, error) {
		namespace, err := e.Cluster.Namespace(ctx, client)
		if err != nil {
			return nil, err
		}
		list, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: cluster.RunSelector})
		if err != nil {
			return nil, err
		}
		return completeRuns(list.Items), nil
	})
}

// completeRuns returns the nodes of run records, sorted. For a record that cannot be decoded, the completion
// shows the error.
func completeRuns(records []corev1.ConfigMap) []string {
	why := map[string]string{}
	for i := range records {
		run, err := api.ReadRun(&records[i])
		node := api.RunNode(&records[i])
		if err == nil {
			node = run.Node
		}
		if node == "" {
			continue
		}
		why[node] += "" // A node can have more records.
		if err != nil {
			why[node] = cannotDecode(err)
		}
	}
	var found []string
	for _, node := range slices.Sorted(maps.Keys(why)) {
		if why[node] != "" {
			node = cobra.CompletionWithDesc(node, why[node])
		}
		found = append(found, node)
	}
	return found
}

// CompletePlugins completes the steps and plugins that the agent reports on.
func (e *Environment) CompletePlugins(cmd *cobra.Command, arguments []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd, arguments, func(ctx context.Context, client kubernetes.Interface) ([]string, error) {
		namespace, err := e.Cluster.Namespace(ctx, client)
		if err != nil {
			return nil, err
		}
		status, err := cluster.AgentStatus(ctx, client, namespace)
		if err != nil || status == nil {
			return nil, err
		}
		return slices.Concat(
			names(status.Plugins, func(plugin api.PluginHealth) string { return plugin.Step }),
			names(status.Plugins, func(plugin api.PluginHealth) string { return plugin.Plugin }),
			names(status.Notifications, func(one api.NotificationHealth) string { return one.Notification })), nil
	})
}

// complete creates the client here, because cobra parses flags late during completion.
func (e *Environment) complete(cmd *cobra.Command, arguments []string, ask func(context.Context, kubernetes.Interface) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeWithin)
	defer cancel()
	clients, err := e.Cluster.Clients()
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
		return nil, cobra.ShellCompDirectiveError
	}
	found, err := ask(ctx, clients.Typed)
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// names returns each name once, sorted.
func names[T any](items []T, name func(T) string) []string {
	var found []string
	for _, item := range items {
		if text := name(item); text != "" {
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
