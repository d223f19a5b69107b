package servingcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files is a serving certificate that another tool creates and renews, such as
// cert-manager: it is read from files, and read again when they change.
type Files struct {
	certificateFile, keyFile string
	changed                  func(end time.Time)
	log                      *slog.Logger

	mutex            sync.Mutex
	certificate, key []byte
	pair             *tls.Certificate
}

// OpenFiles reads both PEM files, and returns an error if they cannot be used. It calls changed with
// the expiry of the certificate, now and after each renewal.
func OpenFiles(certificateFile, keyFile string, changed func(end time.Time), log *slog.Logger) (*Files, error) {
	if certificateFile == "" || keyFile == "" {
		return nil, errors.New("the webhook's certificate and key come from files together: give both --webhook-cert-file and --webhook-key-file")
	}
	f := &Files{certificateFile: certificateFile, keyFile: keyFile, changed: changed, log: log}
	return f, f.reread()
}

// Certificate returns the serving certificate. It is the GetCertificate of a TLS server. If the files
// cannot be used, it returns the last certificate that could.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	// The files are small and handshakes are few: API servers keep their connections.
	f.refresh()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.pair, nil
}

// Run reads the files each minute until ctx ends. Without it, an agent that no API server calls would
// report the expiry of a certificate that was renewed long ago.
func (f *Files) Run(ctx context.Context) error {
	clock := time.NewTicker(checkPeriod)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-clock.C:
			f.refresh()
		}
	}
}

func (f *Files) refresh() {
	if err := f.reread(); err != nil {
		f.log.Error("the webhook's certificate cannot be read, the last one stays", "err", err)
	}
}

func (f *Files) reread() error {
	certificate, err := os.ReadFile(f.certificateFile)
	if err != nil {
		return fmt.Errorf("reading the webhook's certificate: %w", err)
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return fmt.Errorf("reading the webhook's key: %w", err)
	}
	end, err := f.take(certificate, key)
	if err == nil && !end.IsZero() {
		f.changed(end)
	}
	return err
}

// take returns the expiry of the certificate if it has changed since the last call.
func (f *Files) take(certificate, key []byte) (end time.Time, err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.pair != nil && bytes.Equal(certificate, f.certificate) && bytes.Equal(key, f.key) {
		return end, nil
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return end, fmt.Errorf("the webhook's certificate %s with key %s is of no use: %w", f.certificateFile, f.keyFile, err)
	}
	f.certificate, f.key, f.pair = certificate, key, &pair
	return pair.Leaf.NotAfter, nil
}
