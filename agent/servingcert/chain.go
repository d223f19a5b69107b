package servingcert

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Keys of the Secret beside those of a kubernetes.io/tls one, which hold the CA that signs.
const (
	nextCertificateKey     = "next.crt"
	nextPrivateKeyKey      = "next.key"
	previousCertificateKey = "previous.crt"
	// changedAt is the annotation with the time of the last step of a rotation, RFC 3339.
	changedAt = "nodecleanup.io/changed-at"
)

// Timing of certificates.
type Timing struct {
	// CALife and LeafLife are how long a CA and a serving certificate are valid. Each is renewed when
	// two thirds of its life have passed.
	CALife, LeafLife time.Duration
	// Settle is how long the API server trusts a CA before it signs, and after another CA has replaced
	// it.
	Settle time.Duration
}

// DefaultTiming gives an API server one hour to load the next CA before it signs. API servers watch the
// webhook configurations. The old CA remains valid for eight months.
func DefaultTiming() Timing {
	return Timing{CALife: 2 * 365 * 24 * time.Hour, LeafLife: 90 * 24 * time.Hour, Settle: time.Hour}
}

// chain is the content of the Secret: the CA that signs, the next one and the previous one. The API
// server trusts all of them.
type chain struct {
	current   *ca
	next      *ca               // Only during a rotation.
	previous  *x509.Certificate // Only for some time after a rotation.
	changedAt time.Time
}

// decode reads the chain from the Secret. It returns an error if the Secret holds no CA that can sign.
// It ignores a next or previous CA that cannot be decoded.
func decode(secret *corev1.Secret, now time.Time) (*chain, error) {
	current, err := parseCA(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], now)
	if err != nil {
		return nil, fmt.Errorf("the webhook's CA in secret %s/%s is of no use: %w", secret.Namespace, secret.Name, err)
	}
	c := &chain{current: current}
	if next, err := parseCA(secret.Data[nextCertificateKey], secret.Data[nextPrivateKeyKey], now); err == nil {
		c.next = next
	}
	if block, _ := pem.Decode(secret.Data[previousCertificateKey]); block != nil {
		if previous, err := x509.ParseCertificate(block.Bytes); err == nil {
			c.previous = previous
		}
	}
	// If the time cannot be parsed, the next step follows at once. That is safe for every step.
	c.changedAt, _ = time.Parse(time.RFC3339Nano, secret.Annotations[changedAt])
	return c, nil
}

// encode writes the chain into the Secret.
func (c *chain) encode(secret *corev1.Secret) error {
	metav1.SetMetaDataLabel(&secret.ObjectMeta, api.LabelName, api.LabelNameValue)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, changedAt, c.changedAt.UTC().Format(time.RFC3339Nano))
	certificate, key, err := c.current.encode()
	if err != nil {
		return err
	}
	secret.Data = map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	if c.next != nil {
		if secret.Data[nextCertificateKey], secret.Data[nextPrivateKeyKey], err = c.next.encode(); err != nil {
			return err
		}
	}
	if c.previous != nil {
		secret.Data[previousCertificateKey] = encodeCertificate(c.previous)
	}
	return nil
}

func (c *chain) certificates() []*x509.Certificate {
	all := []*x509.Certificate{c.current.certificate}
	if c.next != nil {
		all = append(all, c.next.certificate)
	}
	if c.previous != nil {
		all = append(all, c.previous)
	}
	return all
}

// bundle returns the certificates that the API server must trust, in PEM.
func (c *chain) bundle() []byte {
	var bundle []byte
	for _, one := range c.certificates() {
		bundle = append(bundle, encodeCertificate(one)...)
	}
	return bundle
}

// isBundle reports whether a bundle holds exactly the chain's certificates, in any order.
func (c *chain) isBundle(bundle []byte) bool {
	return slices.Equal(sorted(bundle), sorted(c.bundle()))
}

// sorted returns the certificates of a bundle, sorted by content. It returns none for a bundle that is
// not PEM.
func sorted(bundle []byte) []string {
	var all []string
	for block, rest := pem.Decode(bytes.TrimSpace(bundle)); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, string(block.Bytes))
	}
	slices.Sort(all)
	return all
}
