package httpclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// ClientCredentials gets access tokens with the client credentials grant of OAuth 2.0 (RFC 6749, 4.4). It reuses a
// token until shortly before it expires.
type ClientCredentials struct {
	api    *API
	path   string
	id     string
	secret cleanup.Value
	// held is the lock of what follows. Unlike a mutex, it can be waited for with a context.
	held chan struct{}
	// sent is the secret in the current request for a token. No error shows it.
	sent  string
	token string
	until time.Time
	now   func() time.Time
}

// expiryMargin is how long before its end a token is no longer used.
const expiryMargin = 30 * time.Second

// NewClientCredentials returns the credentials of a client. The token endpoint is a path of the API, whose own
// Credentials are not used.
func NewClientCredentials(api *API, path, id string, secret cleanup.Value) *ClientCredentials {
	c := &ClientCredentials{path: path, id: id, secret: secret, held: make(chan struct{}, 1), now: time.Now}
	c.api = &API{
		System: api.System, URL: api.URL, Client: api.Client, Secrets: api.Secrets, TLS: api.TLS, Message: api.Message,
		Credentials: func(context.Context) (http.Header, []string, error) { return nil, []string{c.sent}, nil },
	}
	return c
}

// Header is the Credentials of the client: a bearer token.
func (c *ClientCredentials) Header(ctx context.Context) (http.Header, []string, error) {
	select {
	case c.held <- struct{}{}:
		defer func() { <-c.held }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if !c.now().Before(c.until) {
		if err := c.renew(ctx); err != nil {
			return nil, nil, fmt.Errorf("getting an access token: %w", err)
		}
	}
	return http.Header{"Authorization": {"Bearer " + c.token}}, []string{c.token}, nil
}

// Forget makes the next request get a new token, because the current one was refused.
func (c *ClientCredentials) Forget(ctx context.Context) {
	select {
	case c.held <- struct{}{}:
		c.until = time.Time{}
		<-c.held
	case <-ctx.Done():
	}
}

func (c *ClientCredentials) renew(ctx context.Context) error {
	secret, err := credential(ctx, c.api.Secrets, "client secret", c.secret)
	if err != nil {
		return err
	}
	c.sent = secret
	var answer struct {
		Token string `json:"access_token"`
		// ExpiresIn is in seconds.
		ExpiresIn int64 `json:"expires_in"`
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {secret}}
	if err := c.api.Call(ctx, http.MethodPost, c.path, form, &answer); err != nil {
		return err
	}
	if answer.Token == "" || strings.ContainsFunc(answer.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the answer has no token")
	}
	c.token, c.until = answer.Token, c.now().Add(time.Duration(answer.ExpiresIn)*time.Second-expiryMargin)
	return nil
}
