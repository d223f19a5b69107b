// Package servingcert issues the serving certificate of the webhook. All replicas share one CA, which
// is stored in a Secret. Each replica signs its own leaf certificate and keeps it in memory only. The
// package renews both before they expire, and repairs the Secret if it was deleted or damaged.
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
	// Hosts are the DNS names and IP addresses at which callers reach the agent, at least one.
	Hosts  []string
	Timing Timing
	// Changed is called with the expiry of the signing CA: at the start, and each time that another CA
	// signs.
	Changed func(end time.Time)
	// Served is called with the expiry of each new serving certificate. It may be nil.
	Served func(end time.Time)
	Now    func() time.Time
	Log    *slog.Logger
}

// Authority is the webhook's CA. The Authorities of all replicas use the same Secret.
type Authority struct {
	Options
	keeper *keeper

	mutex sync.Mutex
	chain *chain
}

// Open loads the CA from its Secret. If the Secret does not exist or holds no usable CA, Open makes a
// CA and stores it. If another replica stores one first, Open uses that one.
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
		// Another replica has written the Secret first. Read it.
	}
}

// Certificate returns the serving certificate. It is the GetCertificate of a TLS server.
func (a *Authority) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.keeper.certificate()
}

func (a *Authority) held() *chain {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.chain
}

// adopt signs with the chain of the Secret from now on.
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

// read returns the live Secret. If it does not exist, the returned one has no resource version.
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

// store writes the chain into the Secret. It reports false if another agent has changed the Secret
// since it was read.
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
