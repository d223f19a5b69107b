package httplimit

import (
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallBody is what a Node rarely exceeds: as many of them as there are
	// connections are no burden.
	smallBody = 128 << 10
	// bodyTimeout is how long a caller may take to send a body.
	bodyTimeout = 5 * time.Second
)

// Bodies refuses a request whose body is longer than max bytes, or of a length that it
// does not tell, before anything of it is read. Of large ones there are only as many at a
// time as together have room in twice that.
func Bodies(max int64, next http.Handler) http.Handler {
	room := semaphore.NewWeighted(2 * max)
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		refuse := func(code int, text string) {
			// The rest of the body is not worth reading to keep the connection.
			writer.Header().Set("Connection", "close")
			http.Error(writer, "nodecleanup-agent: "+text, code)
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
		if err := http.NewResponseController(writer).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
			refuse(http.StatusInternalServerError, "the time to read the request cannot be limited: "+err.Error())
			return
		}
		if size > smallBody {
			if !room.TryAcquire(size) {
				refuse(http.StatusTooManyRequests, "too many large requests at once, try again")
				return
			}
			defer room.Release(size)
		}
		next.ServeHTTP(writer, request)
	})
}
