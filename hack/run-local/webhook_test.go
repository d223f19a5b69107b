package main

import (
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestAgentListensAtItsURL(t *testing.T) {
	mutating := func(client admissionv1.WebhookClientConfig) runtime.Object {
		return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookName}, Webhooks: []admissionv1.MutatingWebhook{{Name: api.WebhookHook, ClientConfig: client}}}
	}
	validating := func(client admissionv1.WebhookClientConfig) runtime.Object {
		return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookName}, Webhooks: []admissionv1.ValidatingWebhook{{Name: api.GuardHook, ClientConfig: client}}}
	}
	at := func(url string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{URL: ptr.To(url)}
	}
	service := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Name: api.Agent}}
	for name, test := range map[string]struct {
		objects []runtime.Object
		command []string
		want    []string
	}{
		"no install":       {},
		"in the cluster":   {objects: []runtime.Object{mutating(service), validating(service)}},
		"--agent-url":      {objects: []runtime.Object{mutating(at("https://127.0.0.1:9443/mutate-node"))}, want: []string{"--webhook-listen", "127.0.0.1:9443"}},
		"only the guard":   {objects: []runtime.Object{validating(at("https://[::1]:9443/guard-node"))}, want: []string{"--webhook-listen", "[::1]:9443"}},
		"no port":          {objects: []runtime.Object{mutating(at("https://laptop/mutate-node"))}, want: []string{"--webhook-listen", "laptop:443"}},
		"given by command": {objects: []runtime.Object{mutating(at("https://127.0.0.1:9443/mutate-node"))}, command: []string{"agent", "--webhook-listen=:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := webhookFlags(t.Context(), fake.NewClientset(test.objects...), test.command)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}
