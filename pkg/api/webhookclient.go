package api

// WebhookClientSubject is the default common name in the client certificate by which an API server
// authenticates to the webhook.
const WebhookClientSubject = "nodecleanup-webhook-client"

// WebhookClientsName is the ConfigMap with the CA of those certificates, under
// the key WebhookClientsKey.
const (
	WebhookClientsName = "nodecleanup-webhook-clients"
	WebhookClientsKey  = "ca.crt"
)
