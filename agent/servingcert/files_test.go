package servingcert

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// files are the paths of a certificate and its key.
func files(t *testing.T) (certificateFile, keyFile string, write func(*ca)) {
	t.Helper()
	folder := t.TempDir()
	certificateFile, keyFile = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	return certificateFile, keyFile, func(one *ca) {
		t.Helper()
		certificate, key, err := one.encode()
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{certificateFile: certificate, keyFile: key} {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// If the admission policy adds the finalizer, the API server may not call the webhook for weeks.
func TestRenewedCertificateIsReportedWithoutAHandshake(t *testing.T) {
	certificateFile, keyFile, write := files(t)
	first, second := newCA(t, morning), newCA(t, morning.Add(time.Hour))
	write(first)
	synctest.Test(t, func(t *testing.T) {
		var ends []time.Time
		opened, err := OpenFiles(certificateFile, keyFile, func(end time.Time) { ends = append(ends, end) }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- opened.Run(ctx) }()
		write(second)
		<-time.After(checkPeriod)
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(ends) != 2 || !ends[1].Equal(second.certificate.NotAfter) {
			t.Errorf("reported the ends %v, want the second one within a minute: %v", ends, second.certificate.NotAfter)
		}
	})
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	certificateFile, keyFile, write := files(t)
	first, second := newCA(t, morning), newCA(t, morning.Add(time.Hour))
	write(first)
	var ends []time.Time
	var log bytes.Buffer
	opened, err := OpenFiles(certificateFile, keyFile, func(end time.Time) { ends = append(ends, end) }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	served := func() []byte {
		t.Helper()
		pair, err := opened.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Certificate[0]
	}
	if !bytes.Equal(served(), first.certificate.Raw) {
		t.Error("the first certificate is not served")
	}
	write(second)
	if !bytes.Equal(served(), second.certificate.Raw) {
		t.Error("the second certificate is not served")
	}
	if len(ends) != 2 || !ends[1].Equal(second.certificate.NotAfter) {
		t.Errorf("reported the ends %v", ends)
	}
	if err := os.WriteFile(keyFile, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(served(), second.certificate.Raw) || !strings.Contains(log.String(), "the last one stays") {
		t.Errorf("with a broken key, logged: %s", log.String())
	}
	if _, err := OpenFiles(certificateFile, keyFile, func(time.Time) {}, slog.Default()); err == nil {
		t.Error("a broken key is not an error at the start")
	}
	if _, err := OpenFiles(certificateFile, "", func(time.Time) {}, slog.Default()); err == nil {
		t.Error("a certificate without a key file is not an error")
	}
}
