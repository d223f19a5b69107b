package teams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// workflow is the workflow that messages are handed to.
type workflow struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
	limiter flowcontrol.RateLimiter
}

// busyDelay is the minimum wait if too many messages wait for the rate limit.
const busyDelay = 10 * time.Second

// address returns the URL. It is a secret, because its parameter sig authorizes every request.
func (w *workflow) address(ctx context.Context) (string, error) {
	text, err := httpclient.Resolve(ctx, w.secrets, w.WebhookURL)
	if err != nil {
		return "", fmt.Errorf("reading the URL of the workflow: %w", err)
	}
	parsed, err := httpclient.ParseURL(text)
	if err != nil {
		return "", fmt.Errorf("the URL of the workflow %w", err)
	}
	if parsed.Scheme != "https" {
		return "", errors.New("the URL of the workflow does not start with https://")
	}
	return text, nil
}

// hand hands a request to the workflow. Nil means that the workflow has it, not that Teams has posted it.
func (w *workflow) hand(ctx context.Context, document []byte) error {
	address, err := w.address(ctx)
	if err != nil {
		return err
	}
	if err := w.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the rate limit: %w", context.Cause(ctx))
		}
		return cleanup.RetryAfter(errors.New("too many messages wait for the rate limit of the workflow"), busyDelay)
	}
	response, body, err := httpclient.Post(ctx, w.client, address, "", document)
	if err != nil {
		return fmt.Errorf("calling the workflow: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return httpclient.Classify(fmt.Errorf("the workflow answers %s%s", httpclient.Status(response), code(body, address)), response)
	}
	if response.StatusCode == http.StatusAccepted {
		return nil
	}
	return inside(strings.TrimSpace(string(body)))
}

// errorCode is the form of an error code, such as WorkflowNotFound.
var errorCode = regexp.MustCompile(`^[A-Za-z]{1,60}$`)

// code returns the error code of an answer, or "". The message of an answer can contain parts of the URL.
func code(body []byte, address string) string {
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || !errorCode.MatchString(answer.Error.Code) || strings.Contains(address, answer.Error.Code) {
		return ""
	}
	return " (" + answer.Error.Code + ")"
}

// httpError is how the webhooks of the former connectors report an error, with the status 200
// (github.com/MicrosoftDocs/msteams-docs/issues/1810).
var httpError = regexp.MustCompile(`(?i)HTTP error (\d{3})`)

// inside returns the error in an answer with the status 200. A workflow answers with 202, or 200 with any text that its
// author chose. The webhook of a former connector answers "1".
func inside(body string) error {
	lower := strings.ToLower(body)
	switch match := httpError.FindStringSubmatch(body); {
	case match != nil:
		status, err := strconv.Atoi(match[1])
		if err != nil {
			return fmt.Errorf("reading the status in the answer: %w", err)
		}
		return httpclient.Classify(fmt.Errorf("the webhook answers 200 OK, but Teams answered it with %s", match[1]), &http.Response{StatusCode: status})
	case strings.Contains(lower, "delivery failed"), strings.Contains(lower, "bad payload"):
		return errors.New("the webhook answers 200 OK, but reports that the message was not delivered")
	case strings.HasPrefix(lower, "<"):
		return errors.New("the answer is a page, and not from a workflow; a proxy may have answered")
	}
	return nil
}
