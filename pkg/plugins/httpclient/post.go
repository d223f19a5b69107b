package httpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxPostAnswer is how much of an answer Post reads, in bytes.
const maxPostAnswer = 64 << 10

// Post sends JSON to a URL that may be a secret, such as that of an incoming webhook, with a bearer token if it is not
// empty. It returns the response, and the beginning of its body. An error contains neither the URL nor the token.
func Post(ctx context.Context, client *http.Client, address, token string, document []byte) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(document))
	if err != nil {
		return nil, nil, errors.New("the URL is not valid")
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", "nodecleanup")
	if token != "" {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, nil, errors.New("the token contains a space or a character that is not ASCII") // net/http would show it.
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, Conceal(err, true)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPostAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer: %w", Conceal(err, true))
	}
	return response, body, nil
}
