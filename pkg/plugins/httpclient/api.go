package httpclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// MaxAnswer is the size limit of an answer, in bytes.
const MaxAnswer = 1 << 20

// maxMessage limits the message of another system that an error shows, in bytes.
const maxMessage = 512

// API sends requests to another system that takes JSON or forms, and returns JSON. It follows no redirects.
type API struct {
	// System is the name of the system for errors, such as "Grafana".
	System string
	// URL is the root of the API. Paths of calls are appended to it. It is not a secret.
	URL string
	// Client sends the requests.
	Client *http.Client
	// Credentials returns what authorizes a request. With nil, requests have no credentials.
	Credentials Credentials
	// Secrets and TLS are the options about certificates. They are not needed if TLS is empty.
	Secrets cleanup.Secrets
	TLS     TLS
	// Message returns the text of an answer that is an error. If it is nil or returns "", the error shows the beginning
	// of the answer.
	Message func(answer []byte) string
	// Inspect checks the header of an answer that is 2xx. With nil, the header is not checked. Its error fails the call.
	Inspect func(header http.Header) error

	trust Trust
}

// StatusError is an answer whose status is not 2xx.
type StatusError struct {
	// System is the name of the system.
	System string
	// Code is the status code, such as 404.
	Code int
	// Message is what the system says, in one line without the secrets of the request. It may be empty.
	Message string
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s answers %s", e.System, Status(&http.Response{StatusCode: e.Code}))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// StatusCode returns the status code of an error of Call, or 0 if there was no answer.
func StatusCode(err error) int {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

// Call sends a request and decodes the answer. The path may have a query. A nil document sends no body, url.Values are
// sent as a form, and any other document as JSON. A nil answer is not decoded. The error of an answer that is not 2xx is
// a *StatusError, classified by Classify. An error contains neither the URL nor a secret.
func (a *API) Call(ctx context.Context, method, path string, document, answer any) error {
	where := method + " " + strings.SplitN(path, "?", 2)[0]
	request, hidden, err := a.request(ctx, method, path, document)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	client, err := a.trust.Client(ctx, WithoutRedirects(a.Client), a.Secrets, a.TLS)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", where, Conceal(err, len(hidden) > 0))
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: reading the answer: %w", where, Conceal(err, len(hidden) > 0))
	case response.StatusCode/100 != 2:
		status := &StatusError{System: a.System, Code: response.StatusCode, Message: Redact(a.message(conceal(data, hidden)), hidden)}
		return fmt.Errorf("%s: %w", where, Classify(status, response))
	}
	if a.Inspect != nil {
		if err := a.Inspect(response.Header); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	switch {
	case len(data) > MaxAnswer:
		return fmt.Errorf("%s: the answer is larger than %d KiB", where, MaxAnswer>>10)
	case answer == nil:
		return nil
	}
	// Not permanent: a proxy may have answered in place of a system that restarts.
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s: the answer is not the expected JSON of %s; a proxy may have answered", where, a.System)
	}
	return nil
}

func (a *API) request(ctx context.Context, method, path string, document any) (request *http.Request, hidden []string, err error) {
	root, err := ParseURL(a.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("the URL %w", err)
	}
	relative, err := url.Parse(path)
	if err != nil {
		return nil, nil, errors.New("the path is not valid")
	}
	address := root.JoinPath(relative.EscapedPath())
	address.RawQuery = relative.RawQuery
	body, contentType, err := encode(document)
	if err != nil {
		return nil, nil, cleanup.Permanent(fmt.Errorf("encoding the request: %w", err))
	}
	request, err = http.NewRequestWithContext(ctx, method, address.String(), body)
	if err != nil {
		return nil, nil, errors.New("the URL is not valid")
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "nodecleanup")
	if a.Credentials == nil {
		return request, nil, nil
	}
	header, hidden, err := a.Credentials(ctx)
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	return request, hidden, nil
}

// encode returns the body of a request and its type; both are empty without a document.
func encode(document any) (body io.Reader, contentType string, err error) {
	switch form, is := document.(url.Values); {
	case document == nil:
		return nil, "", nil
	case is:
		return strings.NewReader(form.Encode()), "application/x-www-form-urlencoded", nil
	}
	data, err := json.Marshal(document)
	return bytes.NewReader(data), "application/json", err
}

// conceal removes the secrets from an answer. It comes before the answer is cut: a part of a secret could not be found.
func conceal(answer []byte, secrets []string) []byte {
	for _, secret := range secrets {
		if secret != "" {
			answer = bytes.ReplaceAll(answer, []byte(secret), []byte("[secret]"))
		}
	}
	return answer
}

func (a *API) message(answer []byte) string {
	if a.Message != nil {
		if text := a.Message(answer); text != "" {
			return text
		}
	}
	return Excerpt(bytes.NewReader(answer))
}

// Redact returns a text of another system as one line, without the secrets and with at most 512 bytes.
func Redact(text string, secrets []string) string {
	text = OneLine(text)
	for _, secret := range secrets {
		if secret = OneLine(secret); secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return truncate.Bytes(text, maxMessage)
}
