package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	halfOpen  = 2000
	hugeAsks  = 8 // at once
	hugeBody  = 1 << 30
	hugeEvery = 100 * time.Millisecond // The caller's own work is not what is measured.
	harmTurn  = 10 * time.Second
	memoryHas = 16 << 20 // bytes that memory may grow by
)

// measureHarm has an honest caller ask while others open connections and leave them,
// and others send bodies of a GiB. It fails when the agent's memory grows too much.
func measureHarm(ctx context.Context, _ int) (err error) {
	c, err := cluster.New(ctx, cluster.Options{Name: "bench-harm", Output: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	agent, err := startAgent(ctx, c)
	if err != nil {
		return err
	}
	defer agent.Stop(context.WithoutCancel(ctx))
	body, err := review()
	if err != nil {
		return err
	}
	// The certificate is not what is measured.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	honest := func() ([]time.Duration, int64, error) {
		var took []time.Duration
		var most int64
		for end := time.Now().Add(harmTurn); time.Now().Before(end); {
			began := time.Now()
			if err := post(ctx, transport, "https://"+agent.webhook+api.MutatePath, body); err != nil {
				return nil, 0, fmt.Errorf("an honest request: %w", err)
			}
			took = append(took, time.Since(began))
			resident, err := resident(agent.PID())
			if err != nil {
				return nil, 0, err
			}
			most = max(most, resident)
			time.Sleep(time.Millisecond) // An API server does not ask in a closed loop either.
		}
		return took, most, nil
	}
	alone, before, err := honest()
	if err != nil {
		return err
	}
	harm, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return openAndLeave(harm, agent.webhook) })
	for range hugeAsks {
		group.Go(func() error { return askHuge(harm, agent.webhook) })
	}
	among, during, err := honest()
	stop()
	if harmErr := group.Wait(); err == nil {
		err = harmErr
	}
	if err != nil {
		return err
	}
	fmt.Printf("\nhonest requests, p50 / p99: alone %s / %s, among %d half-open connections and %d bodies of 1 GiB at once %s / %s\n",
		quantile(alone, .5).Round(10*time.Microsecond), quantile(alone, .99).Round(10*time.Microsecond), halfOpen, hugeAsks,
		quantile(among, .5).Round(10*time.Microsecond), quantile(among, .99).Round(10*time.Microsecond))
	fmt.Printf("resident memory %.1f MiB before, %.1f MiB at most during\n", float64(before)/(1<<20), float64(during)/(1<<20))
	if during-before > memoryHas {
		return fmt.Errorf("memory grew by %d MiB, of %d that it may", (during-before)>>20, memoryHas>>20)
	}
	return nil
}

// openAndLeave keeps as many connections open, and opens another for each that is closed.
func openAndLeave(ctx context.Context, address string) error {
	var group errgroup.Group
	for range halfOpen {
		group.Go(func() error {
			for ctx.Err() == nil {
				connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
				if err != nil {
					continue // Refused, or the end.
				}
				stop := context.AfterFunc(ctx, func() { connection.Close() })
				_, _ = io.Copy(io.Discard, connection) // Until the agent closes it.
				stop()
				connection.Close()
				pause(ctx, time.Second)
			}
			return nil
		})
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

// askHuge sends bodies that are far too long, one after the other, some of a length that it does not tell.
func askHuge(ctx context.Context, address string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	for i := 0; ctx.Err() == nil; i++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+api.MutatePath, io.LimitReader(zeros{}, hugeBody))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		if i%2 == 0 {
			request.ContentLength = hugeBody
		}
		pause(ctx, hugeEvery)
		response, err := transport.RoundTrip(request)
		if err != nil {
			continue // Cut off while sending.
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return fmt.Errorf("a body of 1 GiB was answered by %s", response.Status)
		}
	}
	return nil
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

// resident returns the resident memory of a process in bytes; only Linux tells.
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kilobytes int64
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			break
		}
	}
	return kilobytes << 10, nil
}
