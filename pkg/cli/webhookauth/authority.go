package webhookauth

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
	"path/filepath"
	"time"
)

// caLife is long: a new CA means new files on the control plane and at the agent.
// skew is how far behind the clocks of the control plane may be.
const (
	caLife = 10 * 365 * 24 * time.Hour
	skew   = time.Hour
)

// authority is the CA of client certificates, and of nothing else.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// bundle and encodedKey in PEM.
	bundle, encodedKey []byte
}

// authority makes the CA, or reads the one in the folder.
func (o *Options) authority(now time.Time) (*authority, error) {
	if !o.Renew {
		return newAuthority(now)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(o.OutputDir, "ca.crt"), filepath.Join(o.OutputDir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the CA that is to sign: %w; name its folder by --output-dir, or recreate everything without --renew", err)
	}
	key, is := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !is || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("the certificate in %s is not a CA that this command made", o.OutputDir)
	}
	if now.Add(o.ValidFor).After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the CA in %s ends on %s, before the certificate would: choose a shorter --valid-for, or recreate everything without --renew",
			o.OutputDir, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return &authority{certificate: pair.Leaf, key: key}, nil
}

func newAuthority(now time.Time) (*authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "nodecleanup webhook clients"}, NotBefore: now.Add(-skew), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, der, encoded, err := sign(template, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making the CA: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the CA: %w", err)
	}
	return &authority{certificate: certificate, key: key, bundle: encodeCertificate(der), encodedKey: encoded}, nil
}

// client returns a client certificate and its key in PEM.
func (a *authority) client(subject string, now, end time.Time) (certificate, key []byte, err error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: subject}, NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, der, key, err := sign(template, a.certificate, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("making the client certificate: %w", err)
	}
	return encodeCertificate(der), key, nil
}

// sign makes a key and a certificate of it; without a parent it signs itself.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (key *ecdsa.PrivateKey, der, encodedKey []byte, err error) {
	key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serial, serialErr := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err := errors.Join(keyErr, serialErr); err != nil {
		return nil, nil, nil, err
	}
	template.SerialNumber = serial
	if parent == nil {
		parent, parentKey = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey); err != nil {
		return nil, nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, err
	}
	return key, der, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
