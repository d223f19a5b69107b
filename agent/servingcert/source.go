package servingcert

import (
	"cmp"
	"context"
	"crypto/tls"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Source says by what the webhook shows the API server that it is the agent.
type Source struct {
	// CertificateFile and KeyFile hold what somebody else makes and renews, who also
	// tells the API server whom to trust; empty has the agent do it all.
	CertificateFile, KeyFile string
	// Timing is of those that the agent makes; zero for the default.
	Timing Timing
}

// Certificates hand out the serving certificate. Run keeps it up.
type Certificates interface {
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Run(context.Context) error
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
