package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// getTimeout limits the wait for an answer about abilities or health. A health check makes both calls,
// and its error must name the service before the agent gives up on the check.
const getTimeout = 4 * time.Second

// maxText is the maximum length of a text of the service that operators see, in bytes.
const maxText = 512

// credentials are the secrets of one call.
type credentials struct{ token, hmac string }

func (p *plugin) credentials(ctx context.Context) (credentials, error) {
	var found credentials
	for _, secret := range []struct {
		what  string
		value cleanup.Value
		into  *string
	}{{"token", p.Token, &found.token}, {"HMAC secret", p.HMACSecret, &found.hmac}} {
		if secret.value.Empty() {
			continue
		}
		text, err := httpclient.Resolve(ctx, p.secrets, secret.value)
		if err != nil {
			return credentials{}, fmt.Errorf("finding the %s: %w", secret.what, err)
		}
		*secret.into = text
	}
	if !printable(found.token) {
		return credentials{}, errors.New("finding the token: it contains a control character")
	}
	return found, nil
}

// clean returns a text of the service as one short line without control characters and without the
// secrets that the service knows.
func (c credentials) clean(text string) string {
	text = httpclient.OneLine(text)
	for _, secret := range []string{c.token, c.hmac} {
		if secret = httpclient.OneLine(secret); secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return truncate.Bytes(text, maxText)
}

// leaks reports whether a text contains a secret that the service knows.
func (c credentials) leaks(text string) bool {
	return c.token != "" && strings.Contains(text, c.token) || c.hmac != "" && strings.Contains(text, c.hmac)
}

// call sends one request, and returns the body of an answer with a status of success. It waits at most
// for limit.
func (p *plugin) call(ctx context.Context, limit time.Duration, method, path string, body []byte, key string) ([]byte, credentials, error) {
	where := method + " " + p.base.JoinPath(path).String()
	secrets, err := p.credentials(ctx)
	if err != nil {
		return nil, secrets, err
	}
	client, err := p.trust.Client(ctx, p.client, p.secrets, httpclient.TLS{CABundle: p.CABundle, Certificate: p.ClientCertificate, Key: p.ClientKey})
	if err != nil {
		return nil, secrets, err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, method, p.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, secrets, fmt.Errorf("%s: %w", where, err)
	}
	request.Header.Set("User-Agent", "nodecleanup")
	request.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if secrets.token != "" {
		request.Header.Set("Authorization", "Bearer "+secrets.token)
	}
	if secrets.hmac != "" {
		webhookplugin.Sign(request, body, []byte(secrets.hmac), p.clock.Now())
	}
	response, err := client.Do(request)
	var data []byte
	if err == nil {
		defer response.Body.Close()
		data, err = io.ReadAll(io.LimitReader(response.Body, webhookplugin.MaxAnswer+1))
	}
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return nil, secrets, fmt.Errorf("%s: no complete answer within %s", where, limit)
	case err != nil:
		err = httpclient.Conceal(err, secrets != credentials{})
		if clean := secrets.clean(err.Error()); clean != err.Error() { // It quotes the service.
			err = errors.New(clean)
		}
		return nil, secrets, fmt.Errorf("%s: %w", where, err)
	case response.StatusCode/100 == 2 && len(data) > webhookplugin.MaxAnswer:
		return nil, secrets, fmt.Errorf("%s: the answer is larger than %d KiB", where, webhookplugin.MaxAnswer>>10)
	case response.StatusCode/100 == 2:
		return data, secrets, nil
	}
	err = fmt.Errorf("%s: the answer is %s", where, httpclient.Status(response))
	if said := secrets.clean(problem(data)); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return nil, secrets, httpclient.Classify(err, response)
}

// problem returns the message of a response that is not a success, or all of it if it has none.
func problem(data []byte) string {
	if decoded, err := webhookplugin.Decode[webhookplugin.Problem](data); err == nil && decoded.Message != "" {
		return decoded.Message
	}
	return string(data)
}

// get sends a GET request and decodes the answer.
func get[A interface{ Validate() error }](ctx context.Context, p *plugin, path string) (A, error) {
	data, secrets, err := p.call(ctx, getTimeout, http.MethodGet, path, nil, "")
	if err != nil {
		var none A
		return none, err
	}
	answer, err := decode[A](p, path, data, secrets)
	return answer, err
}

// post sends a request about a target and decodes the answer.
func post[A interface{ Validate() error }](ctx context.Context, p *plugin, path string, request webhookplugin.Request) (A, credentials, error) {
	var none A
	body, err := encode(request)
	if err != nil {
		return none, credentials{}, err
	}
	data, secrets, err := p.call(ctx, p.CallTimeout.Duration, http.MethodPost, path, body, request.IdempotencyKey)
	if err != nil {
		return none, secrets, err
	}
	answer, err := decode[A](p, path, data, secrets)
	return answer, secrets, err
}

func decode[A interface{ Validate() error }](p *plugin, path string, data []byte, secrets credentials) (A, error) {
	answer, err := webhookplugin.Decode[A](data)
	if err != nil {
		// Not permanent: a proxy may have answered in place of a service that restarts.
		err = fmt.Errorf("%s: the answer is not valid: %s", p.base.JoinPath(path), secrets.clean(err.Error()))
	}
	return answer, err
}
