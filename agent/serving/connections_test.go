package serving

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The flood consists of idle connections and stalled bodies. By default, the API server waits
// three seconds for the guard.
func TestCallersAreServedDuringAConnectionFlood(t *testing.T) {
	const others, within, most = 2000, 3 * time.Second, 120 << 20
	header := "POST " + api.MutatePath + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	kinds := []struct {
		secure bool
		say    string
	}{
		{false, ""},                             // Opened, no handshake.
		{false, "\x16\x03\x01\x02\x00\x01\x00"}, // Half a handshake.
		{true, ""},                              // A handshake, no request.
		{true, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"}, // Answered, then idle.
		{true, header + "X: "},                      // Half a header.
		{true, header + "Content-Length: 20000\r\n\r\n" + strings.Repeat("x", 19000)}, // A body that does not come to its end.
		{true, header + "Transfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("x", 8000)},
		{true, header + "Content-Length: 3000000\r\n\r\n" + strings.Repeat("x", 100000)}, // A large one.
	}
	s := serveAll(t, nil, callerauth.Options{})
	ask := func(what string, client *http.Client) {
		t.Helper()
		began := time.Now()
		response, said := s.ask(client, http.MethodPost, s.webhook(api.MutatePath), creation)
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s was answered %s %s", what, response.Status, said)
		}
		if took := time.Since(began); took > within {
			t.Errorf("%s was answered after %s", what, took)
		}
	}
	kept := s.client()
	ask("the first request", kept)
	before := memory()
	var group errgroup.Group
	group.SetLimit(50)
	var mutex sync.Mutex
	var open []net.Conn
	for i := range others {
		kind := kinds[i%len(kinds)]
		group.Go(func() error {
			connection, err := net.Dial("tcp", s.address["webhook"])
			if err != nil {
				return err
			}
			mutex.Lock()
			open = append(open, connection)
			mutex.Unlock()
			if kind.secure {
				connection = tls.Client(connection, &tls.Config{InsecureSkipVerify: true})
			}
			if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				return err
			}
			_, _ = io.WriteString(connection, kind.say) // One that is refused is closed in the meantime.
			return nil
		})
	}
	err := group.Wait()
	t.Cleanup(func() {
		for _, connection := range open {
			connection.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ask("a connection that was kept", kept)
	for i := range 3 {
		ask(fmt.Sprint("new connection ", i), s.client())
	}
	if takes := memory() - before; takes > most {
		t.Errorf("it takes %d MiB", takes>>20)
	}
}

// memory returns what the heap and the stacks take.
func memory() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}
