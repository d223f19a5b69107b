package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// sendAndWait opens a connection, sends text, and waits until the agent closes the connection.
func sendAndWait(ctx context.Context, address string, secure bool, text string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil // The agent refused it, or the attack ends.
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	if secure {
		upper := tls.Client(connection, &tls.Config{InsecureSkipVerify: true})
		if err := upper.HandshakeContext(ctx); err != nil {
			return nil // The agent closed it.
		}
		connection = upper
	}
	if _, err := io.WriteString(connection, text); err == nil {
		_, _ = io.Copy(io.Discard, connection)
	}
	return nil
}

// halfBody is a request that lacks the last byte.
func halfBody(size int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", api.MutatePath, size, strings.Repeat(" ", size-1))
}

// attack is a request that an attacker repeats.
type attack struct {
	what  string
	times int // concurrently
	// pause between two requests, so that the CPU time of the attacker is not measured.
	pause time.Duration
	once  func(ctx context.Context, address string) error
}

var attacks = []attack{
	{"idle connections", 2000, time.Second, func(ctx context.Context, address string) error { return sendAndWait(ctx, address, false, "") }},
	{"incomplete TLS handshakes", 200, time.Second, func(ctx context.Context, address string) error {
		return sendAndWait(ctx, address, false, "\x16\x03\x01\x02\x00\x01")
	}},
	{"idle TLS connections", 100, time.Second, func(ctx context.Context, address string) error { return sendAndWait(ctx, address, true, "") }},
	{"incomplete bodies of 24 KiB", 256, time.Second, func(ctx context.Context, address string) error {
		return sendAndWait(ctx, address, true, halfBody(24<<10))
	}},
	{"incomplete bodies of 3 MiB", 8, time.Second, func(ctx context.Context, address string) error {
		return sendAndWait(ctx, address, true, halfBody(3<<20))
	}},
	{"chunked requests without a body", 100, time.Second, func(ctx context.Context, address string) error {
		return sendAndWait(ctx, address, true, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	}},
	{"bodies of 1 GiB", 8, 100 * time.Millisecond, sendHuge},
}

// runAttacks runs every attack until ctx ends.
func runAttacks(ctx context.Context, address string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range attacks {
		for range one.times {
			group.Go(func() error {
				for ctx.Err() == nil {
					if err := one.once(ctx, address); err != nil {
						return err
					}
					pause(ctx, one.pause)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

func pause(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// sendHuge sends a body that is far too long, sometimes without a Content-Length.
func sendHuge(ctx context.Context, address string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+api.MutatePath, io.LimitReader(zeros{}, hugeBody))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if time.Now().UnixNano()%2 == 0 {
		request.ContentLength = hugeBody
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil // The agent closed it during the request.
	}
	response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return fmt.Errorf("sending a body of 1 GiB: the agent accepted it: %s", response.Status)
	}
	return nil
}

const hugeBody = 1 << 30

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }
