package http

import (
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// where names the destination without secrets: only the host of an inline URL, or the Secret that
// holds the URL.
func (p *plugin) where() string {
	if key, secret := p.URL.SecretKey(); secret {
		return fmt.Sprintf("the URL in secret %s/%s", key.Name, key.Key)
	}
	scheme, host := origin(p.URL.Literal())
	return scheme + "://" + host
}

// secret reports whether the request carried anything from a Secret: then the
// answer might repeat it, and is not shown.
func (p *plugin) secret() bool {
	_, secret := p.URL.SecretKey()
	for _, value := range p.Headers {
		_, in := value.SecretKey()
		secret = secret || in
	}
	return secret
}

// conceal removes possible secrets from an error of net/http.
func (p *plugin) conceal(err error) error { return httpclient.Conceal(err, p.secret()) }
