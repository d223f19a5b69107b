package servingcert

import (
	"crypto/x509"
	"testing"
	"time"
)

var (
	morning = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	timing  = Timing{CALife: 300 * 24 * time.Hour, LeafLife: 30 * 24 * time.Hour, Settle: time.Hour}
)

func newCA(t *testing.T, now time.Time) *ca {
	t.Helper()
	made, err := makeCA(now, timing.CALife)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestLeafIsTrustedForItsHostsOnly(t *testing.T) {
	signer := newCA(t, morning)
	made, err := signer.leaf(morning, timing.LeafLife, "agent.ns.svc", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	leaf, roots := made.Leaf, x509.NewCertPool()
	roots.AddCert(signer.certificate)
	for host, trusted := range map[string]bool{"agent.ns.svc": true, "127.0.0.1": true, "other.ns.svc": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: morning})
		if (err == nil) != trusted {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: morning.Add(-skew / 2)}); err != nil {
		t.Errorf("an API server whose clock is behind does not trust it: %v", err)
	}
	if leaf.IsCA {
		t.Error("the leaf could sign")
	}
}

func TestLeafExpiresNoLaterThanItsCA(t *testing.T) {
	signer := newCA(t, morning)
	end := signer.certificate.NotAfter
	made, err := signer.leaf(end.Add(-time.Hour), timing.LeafLife, "agent.ns.svc")
	if err != nil {
		t.Fatal(err)
	}
	if !made.Leaf.NotAfter.Equal(end) {
		t.Errorf("it ends on %s, the CA on %s", made.Leaf.NotAfter, end)
	}
}

func TestKeeperRenewsAfterTwoThirdsOfTheLifetime(t *testing.T) {
	now := morning
	var reported time.Time
	kept := &keeper{hosts: []string{"agent.ns.svc"}, life: timing.LeafLife, now: func() time.Time { return now }, served: func(end time.Time) { reported = end }}
	first, second := newCA(t, now), newCA(t, now)
	kept.sign(first)
	serve := func() *x509.Certificate {
		t.Helper()
		certificate, err := kept.certificate()
		if err != nil {
			t.Fatal(err)
		}
		if !reported.Equal(certificate.Leaf.NotAfter) {
			t.Errorf("it ends on %s, and %s is reported", certificate.Leaf.NotAfter, reported)
		}
		return certificate.Leaf
	}
	before := serve()
	now = now.Add(timing.LeafLife*2/3 - time.Second)
	kept.sign(first)
	if !serve().Equal(before) {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Second)
	renewed := serve()
	if renewed.Equal(before) {
		t.Error("not renewed")
	}
	kept.sign(second)
	if err := serve().CheckSignatureFrom(second.certificate); err != nil {
		t.Errorf("the next CA does not sign: %v", err)
	}
}
