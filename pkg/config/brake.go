package config

import "time"

// Brake says when no cleanup may begin by itself. Those that have begun continue.
type Brake struct {
	// MaxTerminating is how many protected Nodes may terminate at the same time; not set for
	// any number.
	MaxTerminating Limit
	// ReleaseAfter is how long it must be quiet before the brake is released; zero for never,
	// so that an operator has to resume.
	ReleaseAfter time.Duration
}

// Enabled reports whether anything engages the brake.
func (b Brake) Enabled() bool { return b.MaxTerminating.Set() }

type fileBrake struct {
	MaxTerminating *fileLimit `yaml:"maxTerminating"`
	ReleaseAfter   *duration  `yaml:"releaseAfter"`
}

func (p *parser) brake(written fileBrake) Brake {
	brake := Brake{ReleaseAfter: p.positive("brake.releaseAfter", written.ReleaseAfter, 0)}
	if written.MaxTerminating == nil {
		p.fault("brake", "names nothing that engages the brake: set maxTerminating")
		return brake
	}
	brake.MaxTerminating = written.MaxTerminating.Limit
	return brake
}
