package http

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// classify interprets a response: success, a retriable error or a permanent error.
func (p *plugin) classify(response *http.Response) error {
	code := response.StatusCode
	if code/100 == 2 || slices.Contains(p.AlsoAccept, code) {
		return nil
	}
	// Not response.Status: the server chooses its text, which may repeat a secret of the request.
	err := fmt.Errorf("sending %s to %s: the answer is %s", p.Method, p.where(), strings.TrimSpace(fmt.Sprint(code, " ", http.StatusText(code))))
	if !p.secret() {
		if said := excerpt(response.Body); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	switch {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if after, said := retryAfter(response.Header.Get("Retry-After"), time.Now()); said {
			return cleanup.RetryAfter(err, after)
		}
		return err
	}
	return cleanup.Permanent(err)
}

const maxExcerpt = 256

// excerpt returns the beginning of an answer in one line of printable text.
func excerpt(body io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(body, maxExcerpt)) // What came until an error is as good an excerpt.
	text := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, string(data))
	return strings.Join(strings.Fields(text), " ")
}

// maxRetryAfter limits the Retry-After header, so that no header can hold a Node for years.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name: seconds, or a time (RFC 9110, 10.2.3).
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter), true
	}
	return 0, false
}
