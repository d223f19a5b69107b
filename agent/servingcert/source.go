package servingcert

import (
	"cmp"
	"context"
	"crypto/tls"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Source says where the serving certificate comes from.
type Source struct {
	// CertificateFile and KeyFile hold a certificate that another program renews, such as cert-manager.
	// That program also publishes the CA to the API server. If both are empty, the agent does both.
	CertificateFile, KeyFile string
	// Timing of the certificates that the agent makes; zero for the default.
	Timing Timing
}

// Certificates returns the serving certificate for each handshake. Run renews it until ctx ends.
type Certificates interface {
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Run(ctx context.Context) error
}

// Open opens the source. It sets Hosts and Timing of the options; all others are required.
func (s Source) Open(ctx context.Context, options Options) (Certificates, error) {
	if s.CertificateFile != "" || s.KeyFile != "" {
		return OpenFiles(s.CertificateFile, s.KeyFile, func(end time.Time) { options.Changed(end); options.Served(end) }, options.Log)
	}
	service := api.Agent + "." + options.Namespace + ".svc"
	options.Hosts = []string{service, service + ".cluster.local", "localhost", "127.0.0.1", "::1"}
	options.Timing = cmp.Or(s.Timing, DefaultTiming())
	return Open(ctx, options)
}
