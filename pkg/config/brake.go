package config

import "time"

// LongestOver is the longest time over which requests are counted.
const LongestOver = 10 * time.Minute

// DefaultOver is the time over which requests are counted.
const DefaultOver = time.Minute

// Brake says when no cleanup may begin by itself. Those that have begun continue.
type Brake struct {
	// MaxTerminating is how many protected Nodes may terminate at the same time; not set for
	// any number.
	MaxTerminating Limit
	// APIServerErrors engage it while the API server refuses requests.
	APIServerErrors APIServerErrors
	// ReleaseAfter is how long it must be quiet before the brake is released; zero for never,
	// so that an operator has to resume.
	ReleaseAfter time.Duration
}

// APIServerErrors are the requests of the agent that the API server answers with 429 or 5xx.
type APIServerErrors struct {
	// Percent of the requests; zero for any number. More of them engage the brake.
	Percent int
	// Over is the time over which requests are counted.
	Over time.Duration
}

// Enabled reports whether anything engages the brake.
func (b Brake) Enabled() bool { return b.MaxTerminating.Set() || b.APIServerErrors.Percent > 0 }

type fileBrake struct {
	MaxTerminating  *fileLimit           `yaml:"maxTerminating"`
	APIServerErrors *fileAPIServerErrors `yaml:"apiServerErrors"`
	ReleaseAfter    *duration            `yaml:"releaseAfter"`
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
	if written.MaxTerminating == nil && written.APIServerErrors == nil {
		p.fault("brake", "names nothing that engages the brake: set maxTerminating or apiServerErrors")
	}
	return brake
}
