package serving

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/admission"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/httplimit"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/logging"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Webhook is what the server of the admission webhooks needs. All fields are required.
type Webhook struct {
	Address string
	// Certificate returns the serving certificate; it is called for each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Callers decides who may call.
	Callers *callerauth.Authenticator
	// Config returns the active config.
	Config    func() *config.Config
	Evaluator admission.Evaluator
	Metrics   admission.Metrics
}

// AddWebhook adds the server of the admission webhooks.
func (s *Servers) AddWebhook(w Webhook) {
	selector := func() labels.Selector { return w.Config().NodeSelector }
	log := logging.RateLimited(s.log, time.Now)
	paths := http.NewServeMux()
	paths.Handle(api.MutatePath, admission.Handler(selector, w.Metrics, log))
	paths.Handle(api.GuardPath, admission.GuardHandler(w.Evaluator, w.Callers.Authenticated, w.Metrics, log))
	refused := func(request *http.Request, why string) {
		w.Metrics.WebhookRequest("", "refused", 0)
		log.Warn("refusing an admission request", "from", request.RemoteAddr, "err", why)
	}
	server := s.add("webhook", w.Address, w.Callers.RestrictNetworks(httplimit.Bodies(admission.MaxBody, refused, paths)))
	server.webhook = true
	// With HTTP/2, one connection carries hundreds of requests at once, and the limit on
	// connections would not limit the memory.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: w.Certificate}
	w.Callers.Require(server.TLSConfig)
	// The server reports a rejected handshake here and nowhere else.
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
}
