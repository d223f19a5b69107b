package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// webhookFlags returns the flags with which the agent serves the webhook at the address of
// install --agent-url. They are empty without such an install, or if the command has them.
func webhookFlags(ctx context.Context, client kubernetes.Interface, command []string) ([]string, error) {
	if slices.ContainsFunc(command, func(argument string) bool { return strings.HasPrefix(argument, "--webhook-listen") }) {
		return nil, nil
	}
	var clients []admissionv1.WebhookClientConfig
	webhooks := client.AdmissionregistrationV1()
	mutating, err := webhooks.MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("finding the address of the webhook: %w", err)
	}
	if err == nil {
		for _, hook := range mutating.Webhooks {
			clients = append(clients, hook.ClientConfig)
		}
	}
	// An install with --admission=policy has only this one.
	validating, err := webhooks.ValidatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("finding the address of the webhook: %w", err)
	}
	if err == nil {
		for _, hook := range validating.Webhooks {
			clients = append(clients, hook.ClientConfig)
		}
	}
	for _, one := range clients {
		if one.URL == nil {
			continue
		}
		address, err := url.Parse(*one.URL)
		if err != nil {
			return nil, fmt.Errorf("finding the address of the webhook: %w", err)
		}
		return []string{"--webhook-listen", net.JoinHostPort(address.Hostname(), cmp.Or(address.Port(), "443"))}, nil
	}
	return nil, nil
}
