package httplimit

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// bodyTimeout is how long a caller may take to send a body.
const bodyTimeout = 5 * time.Second

type connectionKey struct{}

// bound is a connection, and what it is bounded by.
type bound struct {
	*Connections
	connection net.Conn
}

// boundOf returns by what the connection of a request is bounded, if it is.
func boundOf(request *http.Request) (bound, bool) {
	of, is := request.Context().Value(connectionKey{}).(bound)
	return of, is
}

// receive limits the time for the body of a request. It has to be around every other
// handler: one that refuses a body leaves it to net/http, which reads what is left of it
// without any limit of its own.
func (c *Connections) receive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		of, _ := boundOf(request)
		if request.ContentLength == 0 {
			c.received(of.connection)
			next.ServeHTTP(writer, request)
			return
		}
		if err := http.NewResponseController(writer).SetReadDeadline(c.now().Add(bodyTimeout)); err != nil {
			refuse(writer, http.StatusInternalServerError, "the time to read the request cannot be limited: "+err.Error())
			return
		}
		// At the end of the body net/http takes the limit off, for it then waits for the caller
		// to hang up: whoever answers may take longer.
		request.Body = &body{request.Body, func() { c.received(of.connection) }}
		next.ServeHTTP(writer, request)
	})
}

// body calls end when all of it is read.
type body struct {
	io.ReadCloser
	end func()
}

func (b *body) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if errors.Is(err, io.EOF) {
		b.end()
	}
	return n, err
}
