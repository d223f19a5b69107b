package servingcert

import (
	"crypto/tls"
	"sync"
	"time"
)

// keeper holds the serving certificate and renews it before it expires.
type keeper struct {
	hosts []string
	life  time.Duration
	now   func() time.Time
	// served is called with the expiry of each new certificate. It may be nil.
	served func(end time.Time)

	mutex  sync.Mutex
	signer *ca
	leaf   *tls.Certificate
}

// sign sets the CA that signs the certificates from now on.
func (k *keeper) sign(by *ca) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.signer == nil || !k.signer.certificate.Equal(by.certificate) {
		k.signer, k.leaf = by, nil
	}
}

// certificate returns the serving certificate. It makes a new one when two thirds of the life of the old one have passed.
func (k *keeper) certificate() (*tls.Certificate, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	now := k.now().Round(0)
	if k.leaf != nil && !due(k.leaf.Leaf, now) {
		return k.leaf, nil
	}
	leaf, err := k.signer.leaf(now, k.life, k.hosts...)
	if err != nil {
		return nil, err
	}
	k.leaf = leaf
	if k.served != nil {
		k.served(leaf.Leaf.NotAfter)
	}
	return leaf, nil
}
