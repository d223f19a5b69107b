package api

// WebhookClientSubject is the common name in the client certificate by which an
// API server shows the webhook who it is, unless another was chosen.
const WebhookClientSubject = "nodecleanup-webhook-client"

// WebhookClientsName is the ConfigMap with the CA of those certificates, under
// the key WebhookClientsKey.
const (
	WebhookClientsName = "nodecleanup-webhook-clients"
	WebhookClientsKey  = "ca.crt"
)
