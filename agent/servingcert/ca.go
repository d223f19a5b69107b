package servingcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// skew is by how much the clock of an API server may be behind.
const skew = time.Hour

// ca is a certificate authority with its key.
type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func makeCA(now time.Time, life time.Duration) (*ca, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the webhook's CA: %w", err)
	}
	template, err := template("nodecleanup webhook CA", now, now.Add(life))
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's CA: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's CA that was just made: %w", err)
	}
	return &ca{parsed, private}, nil
}

// parseCA reads a CA that can sign at this time.
func parseCA(certificate, key []byte, now time.Time) (*ca, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	private, is := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !is || !pair.Leaf.IsCA {
		return nil, errors.New("the certificate is not an ECDSA CA")
	}
	if !now.Before(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate expired on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &ca{pair.Leaf, private}, nil
}

func (c *ca) encode() (certificate, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the key of the webhook's CA: %w", err)
	}
	return encodeCertificate(c.certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificate(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// leaf returns a serving certificate for host names and IP addresses. It does not expire later than
// the CA.
func (c *ca) leaf(now time.Time, life time.Duration, hosts ...string) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's key: %w", err)
	}
	end := now.Add(life)
	if end.After(c.certificate.NotAfter) {
		end = c.certificate.NotAfter
	}
	template, err := template(hosts[0], now, end)
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
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, &private.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("making the webhook's certificate: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's certificate that was just made: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: parsed}, nil
}

func template(name string, now, end time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-skew),
		NotAfter:     end,
	}, nil
}

// due reports whether two thirds of a certificate's life have passed. It compares wall clock times,
// which include the time during which the machine was suspended.
func due(certificate *x509.Certificate, now time.Time) bool {
	begin := certificate.NotBefore.Add(skew)
	return !now.Round(0).Before(begin.Add(certificate.NotAfter.Sub(begin) * 2 / 3))
}
