package agent_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestTheCAIsSharedAndReplacedWhenItIsOfNoUse(t *testing.T) {
	f := setUp(t, logOnly)
	client := kubernetes.NewForConfigOrDie(f.rest())
	ensure := func(now time.Time) *servingcert.Authority {
		t.Helper()
		authority, err := servingcert.Ensure(t.Context(), client, f.namespace, now)
		if err != nil {
			t.Fatal(err)
		}
		return authority
	}
	now := time.Now()
	first := ensure(now)
	if again := ensure(now); !bytes.Equal(again.Bundle, first.Bundle) {
		t.Error("a second agent made a CA of its own")
	}
	if late := ensure(first.ExpiresAt.Add(-time.Hour)); bytes.Equal(late.Bundle, first.Bundle) {
		t.Error("a CA that ends in an hour is still used")
	}
	before := ensure(now)
	if _, err := f.client.CoreV1().Secrets(f.namespace).Patch(t.Context(), api.CASecretName, types.MergePatchType, []byte(`{"data":{"`+corev1.TLSPrivateKeyKey+`":"AAAA"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if after := ensure(now); bytes.Equal(after.Bundle, before.Bundle) {
		t.Error("a CA without its key is still used")
	}
}

func TestTheCAIsPublishedAgainWhenItWasLost(t *testing.T) {
	f := setUp(t, logOnly)
	f.startWithWebhook()
	if _, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.JSONPatchType,
		[]byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the CA is back", func(ctx context.Context) (bool, error) {
		configuration, err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
		return err == nil && len(configuration.Webhooks[0].ClientConfig.CABundle) > 0, err
	})
}
