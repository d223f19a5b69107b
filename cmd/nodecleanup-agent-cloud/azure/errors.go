package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// throttledFor is the minimum wait after Azure has limited the rate and does not say how long to wait.
const throttledFor = 5 * time.Second

// anotherOperation is the code of an error about a resource that another operation changes. Its status is 429, although
// no rate is limited
// (https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling#error-code).
const anotherOperation = "RetryableErrorDueToAnotherOperation"

// classify returns an error for operators: the code and the message of Azure without the details of the request, and
// when to retry. An invalid request is permanent.
func classify(err error) error {
	var token *azidentity.AuthenticationFailedError
	if errors.As(err, &token) {
		if token.RawResponse == nil {
			return fmt.Errorf("getting a token for Azure: %s", excerpt(token.Error()))
		}
		short := fmt.Errorf("getting a token for Azure: %s", message(token.RawResponse))
		if delay, given := retryAfter(token.RawResponse); given {
			return cleanup.RetryAfter(short, delay)
		}
		return short
	}
	var answered *azcore.ResponseError
	if !errors.As(err, &answered) || answered.RawResponse == nil {
		return err
	}
	short := fmt.Errorf("%s: %s", codeOf(answered), message(answered.RawResponse))
	delay, given := retryAfter(answered.RawResponse)
	switch {
	case answered.StatusCode == http.StatusTooManyRequests:
		return cleanup.RetryAfter(short, max(delay, throttledFor))
	case given:
		return cleanup.RetryAfter(short, delay)
	case answered.StatusCode == http.StatusBadRequest && answered.ErrorCode != anotherOperation:
		return cleanup.Permanent(short)
	}
	return short
}

func codeOf(answered *azcore.ResponseError) string {
	if answered.ErrorCode == "" {
		return httpclient.Status(answered.RawResponse)
	}
	return excerpt(answered.ErrorCode)
}

// message returns the message of an answer: that of Azure Resource Manager, or that of Microsoft Entra ID.
func message(response *http.Response) string {
	data, err := runtime.Payload(response)
	if err != nil {
		return "its answer cannot be read: " + excerpt(err.Error())
	}
	var manager struct {
		Error struct{ Message string }
	}
	if err := json.Unmarshal(data, &manager); err == nil && manager.Error.Message != "" {
		return excerpt(manager.Error.Message)
	}
	var entra struct {
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(data, &entra); err == nil && entra.Description != "" {
		return excerpt(entra.Description)
	}
	return httpclient.Status(response) + " without a message"
}

func excerpt(text string) string { return httpclient.Excerpt(strings.NewReader(text)) }

// retryAfter returns the wait for which an answer asks.
func retryAfter(response *http.Response) (time.Duration, bool) {
	for _, header := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} { // See shared.RetryAfter in azcore.
		if milliseconds, err := strconv.Atoi(response.Header.Get(header)); err == nil && milliseconds >= 0 {
			return min(time.Duration(milliseconds)*time.Millisecond, httpclient.MaxRetryAfter), true
		}
	}
	return httpclient.RetryAfter(response.Header.Get("Retry-After"), time.Now())
}
