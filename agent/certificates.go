package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Certificates say by what the webhook shows the API server that it is the agent.
type Certificates struct {
	// CertificateFile and KeyFile hold what somebody else makes and renews, who also
	// tells the API server whom to trust; empty has the agent do it all.
	CertificateFile, KeyFile string
	// Timing is of those that the agent makes; zero for the default.
	Timing servingcert.Timing
}

// certificates hand out the serving certificate. Run keeps it up.
type certificates interface {
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Run(context.Context) error
}

// newCertificates opens those that options ask for. Changed is told when what the API server
// trusts ends, served when the certificate does that it is shown.
func newCertificates(ctx context.Context, client kubernetes.Interface, options Options, changed, served func(end time.Time)) (certificates, error) {
	if files := options.Certificates; files.CertificateFile != "" || files.KeyFile != "" {
		return servingcert.OpenFiles(files.CertificateFile, files.KeyFile, func(end time.Time) { changed(end); served(end) }, options.Log)
	}
	service := api.Agent + "." + options.Namespace + ".svc"
	return servingcert.Open(ctx, servingcert.Options{
		Client: client, Namespace: options.Namespace, Hosts: []string{service, service + ".cluster.local", "localhost", "127.0.0.1", "::1"},
		Timing: cmp.Or(options.Certificates.Timing, servingcert.DefaultTiming()), Changed: changed, Served: served, Now: time.Now, Log: options.Log,
	})
}
