package httpclient

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Status describes the status of a response. It is not response.Status: the server chooses its text,
// which may repeat a secret of the request.
func Status(response *http.Response) string {
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", http.StatusText(response.StatusCode)))
}

// Classify marks the error about a response that is not a success: Permanent if the status says that the
// same request cannot succeed later, and with the delay that the server asks for.
func Classify(err error, response *http.Response) error {
	switch code := response.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if after, said := RetryAfter(response.Header.Get("Retry-After"), time.Now()); said {
			return cleanup.RetryAfter(err, after)
		}
		return err
	}
	return cleanup.Permanent(err)
}

// MaxExcerpt is how much of a body Excerpt reads, in bytes.
const MaxExcerpt = 256

// Excerpt returns the beginning of a body in one line of printable text.
func Excerpt(body io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(body, MaxExcerpt)) // What came until an error is as good an excerpt.
	return OneLine(string(data))
}

// OneLine returns the printable characters of a text, and each run of white space as one space.
func OneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// MaxRetryAfter limits the Retry-After header, so that no header can hold a Node for years.
const MaxRetryAfter = time.Hour

// RetryAfter reads the header of that name: seconds, or a time (RFC 9110, 10.2.3). It returns at most MaxRetryAfter.
func RetryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int(MaxRetryAfter/time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), MaxRetryAfter), true
	}
	return 0, false
}
