package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// auditPolicy records the user and the target of each request, without bodies. The stage
// RequestReceived would double every event.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// prepare writes the files that the components read, and gives the authority that signs for users.
func (l layout) prepare(ctx context.Context) (*authority, error) {
	for _, dir := range []string{l.dir, l.logs(), l.kubeconfigs(), l.pki("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	ca, err := l.writePKI()
	if err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	if err := os.WriteFile(l.auditPolicy(), []byte(auditPolicy), 0o644); err != nil {
		return nil, err
	}
	return ca, writeKwokStages(ctx, l.binary, l.kwokStages())
}

func (l layout) writePKI() (*authority, error) {
	ca, err := newAuthority("nodecleanup-local-ca")
	if err != nil {
		return nil, err
	}
	frontProxyCA, err := newAuthority("nodecleanup-local-front-proxy-ca")
	if err != nil {
		return nil, err
	}
	serviceAccount, err := newAuthority("service-account") // of which only the key is used
	if err != nil {
		return nil, err
	}
	for name, pair := range map[string]func() (keyPair, error){
		"ca":              ca.pair,
		"front-proxy-ca":  frontProxyCA.pair,
		"service-account": serviceAccount.pair,
		"front-proxy-client": func() (keyPair, error) {
			return frontProxyCA.client("front-proxy-client")
		},
		"kubelet-client": func() (keyPair, error) {
			return ca.client("kube-apiserver", "system:masters")
		},
		"server": func() (keyPair, error) {
			return ca.server(
				[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
				[]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 0, 0, 1)})
		},
	} {
		made, err := pair()
		if err != nil {
			return nil, err
		}
		if err := made.write(filepath.Join(l.dir, "pki"), name); err != nil {
			return nil, err
		}
	}
	return ca, nil
}
