// Package httplimit bounds what the body of a request can make an HTTP server hold: memory,
// and time.
package httplimit

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallBody is what the review of a Node rarely exceeds. As many of them as there are
	// connections are no burden.
	smallBody = 24 << 10
	// tryAgain is when there may be memory for large bodies again, in seconds. API servers
	// retry a webhook only if the answer has Retry-After.
	tryAgain = "1"
	// bodyTimeout is how long a caller may take to send a body.
	bodyTimeout = 5 * time.Second
)

// Bodies refuses a request whose body is longer than max bytes, or of unknown length, before
// anything of it is read. Large ones share the memory for one and a third of the longest; if
// that is used up, the request is refused for the moment. Refused is called for each that is
// refused, with the reason.
func Bodies(max int64, refused func(request *http.Request, why string), next http.Handler) http.Handler {
	memory := semaphore.NewWeighted(max + max/3)
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		refuse := func(code int, why string) {
			refused(request, why)
			refuse(writer, code, why)
		}
		size := request.ContentLength
		switch {
		case size < 0:
			refuse(http.StatusLengthRequired, "a request must tell its Content-Length")
			return
		case size > max:
			refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is %d bytes long, and %d are read", size, max))
			return
		}
		if size > smallBody {
			if !memory.TryAcquire(size) {
				writer.Header().Set("Retry-After", tryAgain)
				refuse(http.StatusTooManyRequests, "too many large requests at once, try again")
				return
			}
			defer memory.Release(size)
		}
		next.ServeHTTP(writer, request)
	})
}

// Timely limits the time for the body of a request, not for the answer. It has to be around
// every other handler: a body that a handler does not read is left to net/http.
func Timely(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.ContentLength != 0 {
			connection := http.NewResponseController(writer)
			if err := connection.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
				refuse(writer, http.StatusInternalServerError, "the time to read the request cannot be limited: "+err.Error())
				return
			}
			request.Body = &body{request.Body, connection}
		}
		next.ServeHTTP(writer, request)
	})
}

// body takes the limit off the connection when all of it is read.
type body struct {
	io.ReadCloser
	connection *http.ResponseController
}

// Read implements io.Reader.
func (b *body) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if errors.Is(err, io.EOF) {
		if limit := b.connection.SetReadDeadline(time.Time{}); limit != nil {
			return n, fmt.Errorf("ending the time limit of a request: %w", limit)
		}
	}
	return n, err
}

// refuse answers a request whose body is not read. The connection is closed, because reading
// what is left of the body costs more than a new one.
func refuse(writer http.ResponseWriter, code int, text string) {
	writer.Header().Set("Connection", "close")
	http.Error(writer, "nodecleanup-agent: "+text, code)
}
