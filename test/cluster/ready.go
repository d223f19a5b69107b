package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Ready says when a process counts as started. Everything that is set must hold.
type Ready struct {
	// URL answers 200.
	URL string `json:"url,omitempty"`
	// CAFile verifies an https URL; empty takes the system's certificate authorities.
	CAFile string `json:"caFile,omitempty"`
	// LogLine is a text that a line of the log contains, written since the start.
	LogLine string `json:"logLine,omitempty"`
}

// check tests the condition once, and returns nil or the missing part. It reads the log from byte
// offset logged on.
func (r Ready) check(ctx context.Context, client *http.Client, log string, logged int64) error {
	if r.LogLine != "" {
		output, err := readFrom(log, logged)
		if err != nil {
			return err
		}
		if !bytes.Contains(output, []byte(r.LogLine)) {
			return fmt.Errorf("no line with %q in the log yet", r.LogLine)
		}
	}
	if r.URL == "" {
		return nil
	}
	return checkURL(ctx, client, r.URL)
}

// client returns a client for the URL. It keeps no connection, so that every response comes from
// the current process.
func (r Ready) client() (*http.Client, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	if r.CAFile != "" {
		ca, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("no certificate in %s", r.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: transport, Timeout: 2 * time.Second}, nil
}

func checkURL(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", url, response.Status, bytes.TrimSpace(body))
	}
	return nil
}

// Healthy checks once whether the process runs and is ready, and returns nil or the fault.
func (p *Process) Healthy(ctx context.Context) error {
	if !p.Running() {
		return fmt.Errorf("%s does not run", p.Name())
	}
	client, err := p.command.Ready.client()
	if err != nil {
		return err
	}
	return p.command.Ready.check(ctx, client, p.log, 0)
}

// awaitReady polls until the run is ready, has ended, or ctx is done.
func (p *Process) awaitReady(ctx context.Context, r *run, logged int64) error {
	if p.command.Ready == (Ready{}) {
		return nil
	}
	client, err := p.command.Ready.client()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var missing error
	for {
		now := p.command.Ready.check(ctx, client, p.log, logged)
		if now == nil && r.alive() {
			return nil // and it was not another process that answered on its port
		}
		if missing == nil || ctx.Err() == nil { // The previous response explains more than the timeout.
			missing = now
		}
		select {
		case <-r.exited:
			ended := r.err
			if ended == nil {
				ended = errors.New("exit status 0")
			}
			return fmt.Errorf("it ended before it was ready: %w", errors.Join(ended, missing))
		case <-ctx.Done():
			return fmt.Errorf("waiting until it is ready: %w", errors.Join(context.Cause(ctx), missing))
		case <-ticker.C:
		}
	}
}
