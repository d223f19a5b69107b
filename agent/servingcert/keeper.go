package servingcert

import (
	"crypto/tls"
	"sync"
	"time"
)

// keeper hands out the serving certificate and renews it in time.
type keeper struct {
	hosts []string
	life  time.Duration
	now   func() time.Time
	// served is called with the end of each certificate that is made; may be nil.
	served func(end time.Time)

	mutex  sync.Mutex
	signer *ca
	leaf   *tls.Certificate
}

// sign has certificates signed by this CA from now on.
func (k *keeper) sign(by *ca) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.signer == nil || !k.signer.certificate.Equal(by.certificate) {
		k.signer, k.leaf = by, nil
	}
}

// certificate returns the one to serve with.
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
