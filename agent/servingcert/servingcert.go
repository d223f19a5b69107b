// Package servingcert makes the certificate by which the webhook shows the API
// server that it is the agent: a CA of our own, kept in a Secret so that all
// replicas share it, and a leaf that never leaves memory.
package servingcert

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Lifetimes and clock skew.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// skew is how far behind the API server's clock may be.
	skew = time.Hour
)

// Authority is the CA.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// Bundle is the CA certificate in PEM, for the webhook configuration.
	Bundle []byte
	// ExpiresAt is the end of the CA's life.
	ExpiresAt time.Time
}

// Ensure returns the CA from its Secret in a namespace. Where there is none, or
// one that cannot be used any more, it makes one and stores it; when another
// replica was faster, that one's is taken.
func Ensure(ctx context.Context, client kubernetes.Interface, namespace string, now time.Time) (*Authority, error) {
	secrets := client.CoreV1().Secrets(namespace)
	secret, err := secrets.Get(ctx, api.CASecretName, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("reading the webhook's CA from secret %s/%s: %w", namespace, api.CASecretName, err)
	}
	if !missing {
		if authority, err := load(secret, now); err == nil {
			return authority, nil
		}
	}
	made, certificate, key, err := makeCA(now)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's CA: %w", err)
	}
	wanted := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      api.CASecretName,
			Labels:    map[string]string{api.LabelName: api.LabelNameValue},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}
	if missing {
		_, err = secrets.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		wanted.ResourceVersion = secret.ResourceVersion
		wanted.Type = secret.Type
		_, err = secrets.Update(ctx, wanted, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		return made, nil
	case !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err):
		return nil, fmt.Errorf("storing the webhook's CA in secret %s/%s: %w", namespace, api.CASecretName, err)
	}
	if secret, err = secrets.Get(ctx, api.CASecretName, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("reading the webhook's CA that another agent made: %w", err)
	}
	return load(secret, now)
}

func load(secret *corev1.Secret, now time.Time) (*Authority, error) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's CA: %w", err)
	}
	key, is := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !is || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("reading the webhook's CA: it is no ECDSA certificate authority")
	}
	if now.Add(leafLife).After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("reading the webhook's CA: it ends on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw})
	return &Authority{certificate: pair.Leaf, key: key, Bundle: bundle, ExpiresAt: pair.Leaf.NotAfter}, nil
}

func makeCA(now time.Time) (authority *Authority, certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	template, err := template("nodecleanup webhook CA", now, caLife)
	if err != nil {
		return nil, nil, nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	return &Authority{certificate: parsed, key: private, Bundle: certificate, ExpiresAt: parsed.NotAfter}, certificate, key, nil
}

// Leaf returns a serving certificate for host names and IP addresses.
func (a *Authority) Leaf(now time.Time, hosts ...string) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's key: %w", err)
	}
	template, err := template(hosts[0], now, leafLife)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(life),
	}, nil
}

// Publish writes the CA into the webhook configuration, so that the API server
// trusts the leaf. It reports whether that was needed: not when it is there
// already, nor without a configuration (the agent runs without admission).
func (a *Authority) Publish(ctx context.Context, client kubernetes.Interface) (changed bool, err error) {
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration, err := configurations.Get(ctx, api.WebhookName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading webhook configuration %s: %w", api.WebhookName, err)
	}
	for _, webhook := range configuration.Webhooks {
		if webhook.Name == api.WebhookHook && bytes.Equal(webhook.ClientConfig.CABundle, a.Bundle) {
			return false, nil
		}
	}
	patch, err := json.Marshal(map[string]any{"webhooks": []any{map[string]any{
		"name":         api.WebhookHook,
		"clientConfig": map[string]any{"caBundle": a.Bundle},
	}}})
	if err != nil {
		return false, fmt.Errorf("encoding the patch of webhook configuration %s: %w", api.WebhookName, err)
	}
	if _, err := configurations.Patch(ctx, api.WebhookName, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return false, fmt.Errorf("publishing the CA in webhook configuration %s: %w", api.WebhookName, err)
	}
	return true, nil
}
