package cluster

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestAgentURL(t *testing.T) {
	at := func(url string) admissionv1.WebhookClientConfig { return admissionv1.WebhookClientConfig{URL: &url} }
	service := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Name: "agent"}}
	mutating := func(name string, client admissionv1.WebhookClientConfig) *admissionv1.MutatingWebhookConfiguration {
		return &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{Name: "other"}, {Name: name, ClientConfig: client}}}
	}
	guard := func(client admissionv1.WebhookClientConfig) *admissionv1.ValidatingWebhookConfiguration {
		return &admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{Name: "other"}, {Name: api.GuardHook, ClientConfig: client}}}
	}
	for name, test := range map[string]struct {
		mutating   *admissionv1.MutatingWebhookConfiguration
		validating *admissionv1.ValidatingWebhookConfiguration
		want       string
	}{
		"no webhooks":            {nil, nil, ""},
		"behind a Service":       {mutating(api.WebhookHook, service), guard(service), ""},
		"outside the cluster":    {mutating(api.WebhookHook, at("https://a:9443/mutate")), guard(at("https://b:9443/delete")), "https://a:9443/mutate"},
		"the policy, no webhook": {nil, guard(at("https://b:9443/delete")), "https://b:9443/delete"},
		"another webhook":        {mutating("another", at("https://a:9443/mutate")), nil, ""},
	} {
		got := ""
		if address := AgentURL(test.mutating, test.validating); address != nil {
			got = address.String()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
