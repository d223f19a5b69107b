package config

import (
	"net/url"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// LongestOver is the maximum of Over.
const LongestOver = 10 * time.Minute

// DefaultOver is the default of Over.
const DefaultOver = time.Minute

// Brake configures when the agent begins no cleanup. Running cleanups continue.
type Brake struct {
	// MaxTerminating is how many protected Nodes may terminate at the same time; not set for
	// any number.
	MaxTerminating Limit
	// APIServerErrors engage it while the API server refuses requests.
	APIServerErrors APIServerErrors
	// Alerts engage it while one of them fires.
	Alerts Alerts
	// ReleaseAfter is the time without a cause after which the brake is released. Zero means
	// never: an operator must resume.
	ReleaseAfter time.Duration
}

// APIServerErrors are the requests of the agent that the API server answers with 429 or 5xx.
type APIServerErrors struct {
	// Percent of the requests; zero for any number. More of them engage the brake.
	Percent int
	// Over is the time over which requests are counted.
	Over time.Duration
}

// Alerts are alerts of a Prometheus server.
type Alerts struct {
	// URL of the server, without /api/v1/alerts.
	URL string
	// Names of the alerts; none for no alerts.
	Names []string
	// BearerToken is sent with each request, unless it is empty.
	BearerToken cleanup.Value
}

// Enabled reports whether anything engages the brake.
func (b Brake) Enabled() bool {
	return b.MaxTerminating.Set() || b.APIServerErrors.Percent > 0 || len(b.Alerts.Names) > 0
}

type fileBrake struct {
	// MaxTerminating is how many protected Nodes may terminate at the same time.
	MaxTerminating *fileLimit `yaml:"maxTerminating"`
	// APIServerErrors engage the brake while the API server refuses requests of the agent.
	APIServerErrors *fileAPIServerErrors `yaml:"apiServerErrors"`
	// Alerts engage the brake while one of them fires.
	Alerts *fileAlerts `yaml:"alerts"`
	// ReleaseAfter is how long all of the above must be within their limits before the agent
	// releases the brake. Without it, an operator must resume.
	ReleaseAfter *duration `yaml:"releaseAfter"`
}

type fileAlerts struct {
	// URL is a Prometheus server, such as http://prometheus.monitoring:9090.
	URL string `yaml:"url" jsonschema:"required,pattern=^https?://"`
	// Names are the alerts that engage the brake while one of them fires.
	Names []string `yaml:"names" jsonschema:"required,minItems=1"`
	// BearerToken is the token for the Prometheus server.
	BearerToken *struct {
		SecretKeyRef cleanup.SecretKey `yaml:"secretKeyRef" jsonschema:"required"`
	} `yaml:"bearerToken"`
}

type fileAPIServerErrors struct {
	// Percent is the share of the agent's requests that the API server may answer with 429 or 5xx.
	Percent int `yaml:"percent" jsonschema:"required,minimum=1,maximum=99"`
	// Over is the time over which the agent counts requests, at most 10m.
	Over *duration `yaml:"over" jsonschema_extras:"default=1m"`
}

func (p *parser) brake(written fileBrake) Brake {
	brake := Brake{ReleaseAfter: p.positive("brake.releaseAfter", written.ReleaseAfter, 0)}
	if written.MaxTerminating != nil {
		brake.MaxTerminating = written.MaxTerminating.Limit
	}
	if refused := written.APIServerErrors; refused != nil {
		brake.APIServerErrors = APIServerErrors{Percent: refused.Percent, Over: p.positive("brake.apiServerErrors.over", refused.Over, DefaultOver)}
		if refused.Percent < 1 || refused.Percent > 99 {
			p.fault("brake.apiServerErrors.percent", "must be from 1 to 99, not %d", refused.Percent)
		}
		if brake.APIServerErrors.Over > LongestOver {
			p.fault("brake.apiServerErrors.over", "must be at most %s", LongestOver)
		}
	}
	if written.Alerts != nil {
		brake.Alerts = p.alerts(*written.Alerts)
	}
	if written.MaxTerminating == nil && written.APIServerErrors == nil && written.Alerts == nil {
		p.fault("brake", "must have maxTerminating, apiServerErrors or alerts")
	}
	return brake
}

func (p *parser) alerts(written fileAlerts) Alerts {
	alerts := Alerts{URL: written.URL, Names: p.names("brake.alerts.names", written.Names)}
	if len(alerts.Names) == 0 {
		p.fault("brake.alerts.names", "is empty: list the alerts that engage the brake")
	}
	if parsed, err := url.Parse(alerts.URL); err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" {
		p.fault("brake.alerts.url", "must be an http or https URL such as http://prometheus.monitoring:9090, without user and query")
	}
	if token := written.BearerToken; token != nil {
		alerts.BearerToken = cleanup.FromSecret(token.SecretKeyRef.Name, token.SecretKeyRef.Key)
		if problem := alerts.BearerToken.Problem(); problem != "" {
			p.fault("brake.alerts.bearerToken", "%s", problem)
		}
	}
	return alerts
}
