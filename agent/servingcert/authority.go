// Package servingcert makes the certificate by which the webhook shows the API
// server that it is the agent: a CA of our own, kept in a Secret so that all
// replicas share it, and a leaf that never leaves memory. It replaces both in
// time, and repairs the Secret if it was deleted or broken.
package servingcert

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Options of an Authority.
type Options struct {
	Client kubernetes.Interface
	// Namespace of the Secret.
	Namespace string
	// Hosts are the names and addresses under which the agent is called, one at least.
	Hosts  []string
	Timing Timing
	// Changed is called with the end of the CA that signs, once at the start and whenever
	// that is another.
	Changed func(end time.Time)
	// Served is called with the end of each serving certificate; may be nil.
	Served func(end time.Time)
	Now    func() time.Time
	Log    *slog.Logger
}

// Authority is the webhook's CA, one of as many as there are agents, all of which
// go by the same Secret.
type Authority struct {
	Options
	keeper *keeper

	mutex sync.Mutex
	chain *chain
}

// Open returns the CA from its Secret. Where there is none, or one that cannot be used
// any more, it makes one and stores it; when another replica was faster, that one's
// is taken.
func Open(ctx context.Context, options Options) (*Authority, error) {
	a := &Authority{Options: options, keeper: &keeper{hosts: options.Hosts, life: options.Timing.LeafLife, now: options.Now, served: options.Served}}
	for {
		secret, err := a.read(ctx)
		if err != nil {
			return nil, err
		}
		found, unusable := decode(secret, a.Now())
		if unusable == nil {
			a.adopt(found)
			return a, nil
		}
		made, err := makeCA(a.Now(), a.Timing.CALife)
		if err != nil {
			return nil, err
		}
		stored, err := a.store(ctx, secret, &chain{current: made, changedAt: a.Now()})
		if err != nil {
			return nil, err
		}
		if stored {
			a.adopt(&chain{current: made, changedAt: a.Now()})
			return a, nil
		}
		// Another replica was faster, and its Secret is read next.
	}
}

// Certificate is for the GetCertificate of a TLS server.
func (a *Authority) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.keeper.certificate()
}

func (a *Authority) held() *chain {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.chain
}

// adopt uses a chain that is in the Secret.
func (a *Authority) adopt(c *chain) {
	a.mutex.Lock()
	before := a.chain
	a.chain = c
	a.mutex.Unlock()
	a.keeper.sign(c.current)
	if before == nil || !before.current.certificate.Equal(c.current.certificate) {
		a.Changed(c.current.certificate.NotAfter)
	}
}

// read returns the Secret as it is now; one without a resource version where there is none.
func (a *Authority) read(ctx context.Context) (*corev1.Secret, error) {
	secret, err := a.Client.CoreV1().Secrets(a.Namespace).Get(ctx, api.CASecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: api.CASecretName}, Type: corev1.SecretTypeTLS}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's CA from secret %s/%s: %w", a.Namespace, api.CASecretName, err)
	}
	return secret, nil
}

// store writes the chain over a Secret that was read. It reports false where that has
// changed in the meantime: another agent was faster.
func (a *Authority) store(ctx context.Context, read *corev1.Secret, c *chain) (bool, error) {
	secret := read.DeepCopy()
	if err := c.encode(secret); err != nil {
		return false, err
	}
	secrets := a.Client.CoreV1().Secrets(a.Namespace)
	var err error
	if secret.ResourceVersion == "" {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	} else {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && secret.ResourceVersion != "":
		return false, nil
	case err != nil:
		return false, fmt.Errorf("storing the webhook's CA in secret %s/%s: %w", a.Namespace, api.CASecretName, err)
	}
	return true, nil
}
