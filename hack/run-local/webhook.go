package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// webhookFlags returns the flags with which the agent serves the webhook at the address of
// install --agent-url. They are empty without such an install, or if the command has them.
func webhookFlags(ctx context.Context, client kubernetes.Interface, command []string) ([]string, error) {
	if slices.ContainsFunc(command, func(argument string) bool { return strings.HasPrefix(argument, "--webhook-listen") }) {
		return nil, nil
	}
	webhooks := client.AdmissionregistrationV1()
	mutating, err := webhooks.MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("finding the address of the webhook: %w", err)
	}
	validating, err := webhooks.ValidatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("finding the address of the webhook: %w", err)
	}
	address := cluster.AgentURL(mutating, validating)
	if address == nil {
		return nil, nil
	}
	return []string{"--webhook-listen", net.JoinHostPort(address.Hostname(), cmp.Or(address.Port(), "443"))}, nil
}
