package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func webhook(t *testing.T, client kubernetes.Interface) admissionv1.MutatingWebhook {
	t.Helper()
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), api.WebhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configuration.Webhooks[0]
}

// caOf names the CAs that tests publish, so that they can be distinguished.
func caOf(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(61 * 24 * time.Hour), IsCA: true}
	template.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// publishCA publishes the CA as the agent does when it starts.
func publishCA(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	bundle, options := caOf(t, name), metav1.PatchOptions{FieldManager: api.Agent}
	patch := func(hook string) []byte {
		data, err := json.Marshal(map[string]any{"webhooks": []any{map[string]any{"name": hook, "clientConfig": map[string]any{"caBundle": bundle}}}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	admission := client.AdmissionregistrationV1()
	if _, err := admission.MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.WebhookHook), options); err != nil {
		t.Fatal(err)
	}
	if _, err := admission.ValidatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.StrategicMergePatchType, patch(api.GuardHook), options); err != nil {
		t.Fatal(err)
	}
}

func webhookCA(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	block, _ := pem.Decode(webhook(t, client).ClientConfig.CABundle)
	if block == nil {
		return ""
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.Subject.CommonName
}
