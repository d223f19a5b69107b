package servingcert

import (
	"crypto/tls"
	"sync"
	"time"
)

// Keeper hands out the serving certificate and renews it in time.
type Keeper struct {
	authority *Authority
	hosts     []string
	now       func() time.Time

	mutex   sync.Mutex
	leaf    *tls.Certificate
	renewAt time.Time
}

// NewKeeper returns a keeper of certificates for host names and IP addresses,
// of which there is at least one.
func NewKeeper(authority *Authority, now func() time.Time, hosts ...string) *Keeper {
	return &Keeper{authority: authority, hosts: hosts, now: now}
}

// Certificate returns the certificate to serve with. A new one is made when two
// thirds of the old one's life have passed, by the clock on the wall: a machine
// that was suspended notices at the next handshake.
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	now := k.now().Round(0)
	if k.leaf != nil && now.Before(k.renewAt) {
		return k.leaf, nil
	}
	leaf, err := k.authority.Leaf(now, k.hosts...)
	if err != nil {
		return nil, err
	}
	k.leaf, k.renewAt = leaf, now.Add(leafLife*2/3)
	return leaf, nil
}
