package servingcert

import (
	"crypto/x509"
	"testing"
	"time"
)

func authority(t *testing.T, now time.Time) *Authority {
	t.Helper()
	made, _, _, err := makeCA(now)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestALeafIsTrustedByTheBundleForItsHostsOnly(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	a := authority(t, now)
	made, err := a.Leaf(now, "agent.ns.svc", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.Bundle) {
		t.Fatal("the bundle is no PEM")
	}
	for host, trusted := range map[string]bool{"agent.ns.svc": true, "127.0.0.1": true, "other.ns.svc": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now})
		if (err == nil) != trusted {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now.Add(-skew / 2)}); err != nil {
		t.Errorf("an API server whose clock is behind does not trust it: %v", err)
	}
	if leaf.IsCA {
		t.Error("the leaf could sign")
	}
}

func TestTheKeeperRenewsAtTwoThirdsOfTheLife(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	keeper := NewKeeper(authority(t, now), func() time.Time { return now }, "agent.ns.svc")
	serve := func() string {
		t.Helper()
		certificate, err := keeper.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(certificate.Certificate[0])
	}
	first := serve()
	now = now.Add(leafLife*2/3 - time.Second)
	if serve() != first {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Second)
	if serve() == first {
		t.Error("not renewed")
	}
}
