package httpclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Credentials returns the header that authorizes a request, and the secrets in it, which no error may show. It is
// called for each request, because a Secret can change.
type Credentials func(ctx context.Context) (header http.Header, secrets []string, err error)

// Header sends a secret in a header, after the prefix. For a bearer token (RFC 6750), name is "Authorization" and
// prefix is "Bearer ".
func Header(secrets cleanup.Secrets, name, prefix string, token cleanup.Value) Credentials {
	return func(ctx context.Context) (http.Header, []string, error) {
		text, err := credential(ctx, secrets, "token", token)
		if err != nil {
			return nil, nil, err
		}
		return http.Header{name: {prefix + text}}, []string{text}, nil
	}
}

// Basic sends a user name and a password (RFC 7617).
func Basic(secrets cleanup.Secrets, username string, password cleanup.Value) Credentials {
	return func(ctx context.Context) (http.Header, []string, error) {
		text, err := credential(ctx, secrets, "password", password)
		if err != nil {
			return nil, nil, err
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(username + ":" + text))
		return http.Header{"Authorization": {"Basic " + encoded}}, []string{text, encoded}, nil
	}
}

// credential reads a secret. It refuses what net/http would refuse with an error that shows the value.
func credential(ctx context.Context, secrets cleanup.Secrets, what string, value cleanup.Value) (string, error) {
	text, err := Resolve(ctx, secrets, value)
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w", what, err)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("reading the " + what + ": it contains a control character")
	}
	return text, nil
}

// SecretProblem returns the fault of an option whose value must be in a Secret, or "". It does not read the Secret.
// An empty value has no fault.
func SecretProblem(value cleanup.Value) string {
	if value.Empty() {
		return ""
	}
	if _, secret := value.SecretKey(); !secret {
		return "must be in a Secret: {secretKeyRef: {name: …, key: …}}"
	}
	return value.Problem()
}
