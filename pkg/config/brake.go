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
	MaxTerminating  *fileLimit           `yaml:"maxTerminating"`
	APIServerErrors *fileAPIServerErrors `yaml:"apiServerErrors"`
	Alerts          *fileAlerts          `yaml:"alerts"`
	ReleaseAfter    *duration            `yaml:"releaseAfter"`
}

type fileAlerts struct {
	URL         string   `yaml:"url"`
	Names       []string `yaml:"names"`
	BearerToken *struct {
		SecretKeyRef cleanup.SecretKey `yaml:"secretKeyRef"`
	} `yaml:"bearerToken"`
}

type fileAPIServerErrors struct {
	Percent int       `yaml:"percent"`
	Over    *duration `yaml:"over"`
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
