package httplimit

import (
	"fmt"
	"net/http"

	"golang.org/x/sync/semaphore"
)

const (
	// smallBody is what a Node rarely exceeds: as many of them as there are
	// connections are no burden.
	smallBody = 24 << 10
	// tryAgain is when the room for large bodies may be free, in seconds. API servers call a
	// webhook again only where they are told when.
	tryAgain = "1"
)

// Bodies refuses a request whose body is longer than max bytes, or of a length that it
// does not tell, before anything of it is read. Of large ones there are only as many at a
// time as together have room in a third more than that; where there is none left, the slowest
// request has to make some. Refused is told of each that is refused, and why.
func Bodies(max int64, refused func(request *http.Request, why string), next http.Handler) http.Handler {
	room := semaphore.NewWeighted(max + max/3)
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
			if !room.TryAcquire(size) {
				if of, is := boundOf(request); is {
					of.closeSlowest()
				}
				writer.Header().Set("Retry-After", tryAgain)
				refuse(http.StatusTooManyRequests, "too many large requests at once, try again")
				return
			}
			defer room.Release(size)
		}
		next.ServeHTTP(writer, request)
	})
}

// refuse answers a request whose body is not read. What is left of it is not worth reading
// to keep the connection.
func refuse(writer http.ResponseWriter, code int, text string) {
	writer.Header().Set("Connection", "close")
	http.Error(writer, "nodecleanup-agent: "+text, code)
}
