package servingcert

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The test checks every ten minutes of a rotation. Each leaf that an agent serves is trusted by the
// bundles of the hour before and of the hour after.
func TestRotationServesOnlyTrustedCertificates(t *testing.T) {
	type moment struct {
		bundle []byte
		leaf   *x509.Certificate
	}
	c := &chain{current: newCA(t, morning), changedAt: morning}
	var history []moment
	var steps []string
	end := morning.Add(timing.CALife*2/3 + 4*timing.Settle)
	for now := morning.Add(timing.CALife*2/3 - 2*timing.Settle); now.Before(end); now = now.Add(10 * time.Minute) {
		after, what, err := c.step(now, timing, false, true)
		if err != nil {
			t.Fatal(err)
		}
		if what != "" {
			steps = append(steps, what)
		}
		c = after
		made, err := c.current.leaf(now, timing.LeafLife, "agent.ns.svc")
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, moment{c.bundle(), made.Leaf})
	}
	for i, served := range history {
		for j := max(0, i-5); j < min(len(history), i+6); j++ {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(history[j].bundle)
			if _, err := served.leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: served.leaf.NotBefore.Add(skew)}); err != nil {
				t.Errorf("what is served at look %d is not trusted by the bundle of look %d: %v", i, j, err)
			}
		}
	}
	if want := []string{madeNext, "the next CA has taken over", "the previous CA is no longer trusted"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if c.next != nil || c.previous != nil || !c.current.certificate.NotAfter.After(morning.Add(timing.CALife)) {
		t.Errorf("the rotation has not ended with a newer CA: %+v", c)
	}
}

func TestRotationStepsWaitForTheSettleTime(t *testing.T) {
	one, two := newCA(t, morning), newCA(t, morning)
	settled := morning.Add(timing.Settle)
	for name, test := range map[string]struct {
		chain                chain
		now                  time.Time
		requested, published bool
		want                 string
	}{
		"young":                       {chain{current: one}, settled, false, true, ""},
		"requested":                   {chain{current: one}, settled, true, true, madeNext},
		"requested during a rotation": {chain{current: one, previous: two.certificate, changedAt: morning}, morning, true, true, ""},
		"next not settled":            {chain{current: one, next: two, changedAt: morning}, settled.Add(-1), false, true, ""},
		"next not published":          {chain{current: one, next: two, changedAt: morning}, settled, false, false, ""},
		"next":                        {chain{current: one, next: two, changedAt: morning}, settled, false, true, "the next CA has taken over"},
		"previous not settled":        {chain{current: one, previous: two.certificate, changedAt: morning}, settled.Add(-1), false, true, ""},
	} {
		if _, what, err := test.chain.step(test.now, timing, test.requested, test.published); err != nil || what != test.want {
			t.Errorf("%s: %q, want %q (%v)", name, what, test.want, err)
		}
	}
}

func TestDecodeReturnsTheEncodedChain(t *testing.T) {
	c := &chain{current: newCA(t, morning), next: newCA(t, morning), previous: newCA(t, morning).certificate, changedAt: morning.Add(time.Nanosecond)}
	secret := &corev1.Secret{}
	if err := c.encode(secret); err != nil {
		t.Fatal(err)
	}
	read, err := decode(secret, morning)
	if err != nil {
		t.Fatal(err)
	}
	if !read.isBundle(c.bundle()) || !read.changedAt.Equal(c.changedAt) || !read.next.key.Equal(c.next.key) || !read.current.key.Equal(c.current.key) {
		t.Errorf("got %+v, want %+v", read, c)
	}
	if read.isBundle(encodeCertificate(c.current.certificate)) {
		t.Error("a part of the bundle counts as the whole bundle")
	}

	secret.Data[nextPrivateKeyKey] = []byte("broken")
	secret.Data[previousCertificateKey] = []byte("broken")
	if read, err := decode(secret, morning); err != nil || read.next != nil || read.previous != nil {
		t.Errorf("with damaged other CAs: %+v, %v", read, err)
	}
	if _, err := decode(secret, c.current.certificate.NotAfter); err == nil {
		t.Error("an expired CA is used")
	}
	secret.Data[corev1.TLSPrivateKeyKey] = []byte("broken")
	if _, err := decode(secret, morning); err == nil {
		t.Error("a CA without its key is used")
	}
}
