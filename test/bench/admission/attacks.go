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

// speak opens a connection, says something over it, and waits until the agent closes it.
func speak(ctx context.Context, address string, secure bool, text string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil // Refused, or the end.
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	if secure {
		upper := tls.Client(connection, &tls.Config{InsecureSkipVerify: true})
		if err := upper.HandshakeContext(ctx); err != nil {
			return nil // Cut off.
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

// attack is a request that a hostile client repeats.
type attack struct {
	what  string
	times int // at once
	// pause between two requests, so that the caller's own work is not measured.
	pause time.Duration
	once  func(ctx context.Context, address string) error
}

var attacks = []attack{
	{"connections that are opened and left", 2000, time.Second, func(ctx context.Context, address string) error { return speak(ctx, address, false, "") }},
	{"that begin with half a handshake", 200, time.Second, func(ctx context.Context, address string) error {
		return speak(ctx, address, false, "\x16\x03\x01\x02\x00\x01")
	}},
	{"that end the handshake, and are left", 100, time.Second, func(ctx context.Context, address string) error { return speak(ctx, address, true, "") }},
	{"bodies of 24 KiB that do not end", 256, time.Second, func(ctx context.Context, address string) error { return speak(ctx, address, true, halfBody(24<<10)) }},
	{"bodies of 3 MiB that do not end", 8, time.Second, func(ctx context.Context, address string) error { return speak(ctx, address, true, halfBody(3<<20)) }},
	{"bodies without a length that do not come", 100, time.Second, func(ctx context.Context, address string) error {
		return speak(ctx, address, true, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	}},
	{"bodies of 1 GiB", 8, 100 * time.Millisecond, askHuge},
}

// doHarm does every attack until ctx ends.
func doHarm(ctx context.Context, address string) error {
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

func pause(ctx context.Context, howLong time.Duration) {
	timer := time.NewTimer(howLong)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// askHuge sends a body that is far too long, sometimes without a Content-Length.
func askHuge(ctx context.Context, address string) error {
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
		return nil // Cut off while sending.
	}
	response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return fmt.Errorf("a body of 1 GiB was answered by %s", response.Status)
	}
	return nil
}

const hugeBody = 1 << 30

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }
