package cluster

import (
	"net/url"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// MutatingHook returns the webhook that adds the finalizer, or nil. The configuration may be nil.
func MutatingHook(configuration *admissionv1.MutatingWebhookConfiguration) *admissionv1.MutatingWebhook {
	if configuration == nil {
		return nil
	}
	at := slices.IndexFunc(configuration.Webhooks, func(hook admissionv1.MutatingWebhook) bool { return hook.Name == api.WebhookHook })
	if at < 0 {
		return nil
	}
	return &configuration.Webhooks[at]
}

// GuardHook returns the webhook of the delete guard, or nil. The configuration may be nil.
func GuardHook(configuration *admissionv1.ValidatingWebhookConfiguration) *admissionv1.ValidatingWebhook {
	if configuration == nil {
		return nil
	}
	at := slices.IndexFunc(configuration.Webhooks, func(hook admissionv1.ValidatingWebhook) bool { return hook.Name == api.GuardHook })
	if at < 0 {
		return nil
	}
	return &configuration.Webhooks[at]
}

// AgentURL returns the URL at which the API server calls an agent outside the cluster. It is nil if the
// agent is behind a Service. With --admission=policy, only the delete guard has a webhook.
func AgentURL(mutating *admissionv1.MutatingWebhookConfiguration, validating *admissionv1.ValidatingWebhookConfiguration) *url.URL {
	var clients []admissionv1.WebhookClientConfig
	if hook := MutatingHook(mutating); hook != nil {
		clients = append(clients, hook.ClientConfig)
	}
	if hook := GuardHook(validating); hook != nil {
		clients = append(clients, hook.ClientConfig)
	}
	for _, client := range clients {
		if client.URL == nil {
			continue
		}
		if parsed, err := url.Parse(*client.URL); err == nil { // The API server stores only valid URLs.
			return parsed
		}
	}
	return nil
}
