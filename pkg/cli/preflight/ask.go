// Package preflight is the command that asks the agent how the plugins are.
package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// AskSoon is Ask after an install: the agent may not be the leader yet, and the API server may not know yet
// that it has its rights. It waits until ctx ends.
func AskSoon(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) (*api.AgentStatus, error) {
	var last error
	err := wait.PollUntilContextCancel(ctx, time.Second/2, true, func(ctx context.Context) (bool, error) {
		err := mayAnswer(ctx, client, namespace, now)
		if err == nil && !command.HasLeader(ctx, client, namespace, now) {
			err = noLeader(ctx, client, namespace, now)
		}
		if status, failed := cluster.AgentStatus(ctx, client, namespace); err == nil && (status == nil || failed != nil) {
			err = cmp.Or(failed, noStatus(namespace))
		}
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return nil, cmp.Or(last, err)
	}
	return Ask(ctx, client, namespace, now)
}

// Ask requests a health check of every plugin from the agent, and returns the resulting status. It
// waits until ctx ends, but not for an agent that lacks the rights to answer. Now is the API server's time.
func Ask(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) (*api.AgentStatus, error) {
	if err := mayAnswer(ctx, client, namespace, now); err != nil {
		return nil, err
	}
	if !command.HasLeader(ctx, client, namespace, now) {
		return nil, noLeader(ctx, client, namespace, now)
	}
	stamp := now().UTC().Format(time.RFC3339Nano)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{api.AnnotationPreflightRequestedAt: stamp}}})
	if err != nil {
		return nil, fmt.Errorf("asking the agent to check its plugins: %w", err)
	}
	configMaps := client.CoreV1().ConfigMaps(namespace)
	_, err = configMaps.Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil, noStatus(namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the agent to check its plugins: %w", err)
	}
	return awaitAnswer(ctx, client, namespace, stamp)
}

// awaitAnswer waits until the agent's status answers the request with the stamp.
func awaitAnswer(ctx context.Context, client kubernetes.Interface, namespace, stamp string) (*api.AgentStatus, error) {
	statuses := cluster.ConfigMaps(client, namespace, "the agent's status", metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, api.StatusName).String(),
	})
	var answer *api.AgentStatus
	err := cluster.Watcher{}.Until(ctx, func(context.Context) (bool, error) {
		configMap := statuses.Named(api.StatusName)
		if configMap == nil {
			return false, nil
		}
		status, err := api.DecodeStatus(configMap)
		if err == nil && status.PreflightRequestedAt == stamp {
			answer = status
		}
		return answer != nil, err
	}, statuses)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &exit.Error{
			Code: exit.TimedOut, Err: errors.New("waiting for the agent's answer: the agent did not answer in time"),
			Next: "Check the agent's health: kubectl nodecleanup status. If a plugin hangs, use a longer --timeout.",
		}
	case err != nil:
		return nil, fmt.Errorf("waiting for the agent's answer: %w", err)
	}
	return answer, nil
}

func noLeader(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) error {
	why, remedy := WhyNoLeader(ctx, client, namespace, now)
	err := fmt.Errorf("asking the agent to check its plugins: no agent in namespace %s is the leader, so no agent would answer%s", namespace, why)
	return noAnswer(err, remedy)
}

// WhyNoLeader returns why no agent is the leader, with ": " before it, and the command that repairs it. Without the right
// to read the install, the cause is empty, and the command shows it.
func WhyNoLeader(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) (why, remedy string) {
	snapshot, err := inspect.NewReader(client, namespace, now).Agent(ctx)
	if err != nil {
		return "", checkAgent
	}
	agent := inspect.Assess(snapshot, version.Version, now()).Agent
	if agent.HasLeader { // An agent has acquired the Lease since.
		return "", checkAgent
	}
	return ": " + agent.Problem, inspect.RepairAgent(agent, namespace)
}

const checkAgent = "kubectl nodecleanup status"

func noStatus(namespace string) error {
	return noAnswer(fmt.Errorf("asking the agent to check its plugins: it has not written its status yet (configmap %s/%s)", namespace, api.StatusName), checkAgent)
}

func noAnswer(err error, remedy string) error {
	return &exit.Error{Code: exit.Failure, Err: err, Next: "Repair the agent: " + remedy + "\n  or:  Show the last known results: kubectl nodecleanup plugins status"}
}
