package printer

// Version is the view of the versions of CLI and agent.
type Version struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	CLI        string `json:"cli"`
	// Agent is the version of the agent, empty if no agent has reported one.
	Agent string `json:"agent,omitempty"`
	// Fits reports whether the versions of CLI and agent are compatible; nil without an agent.
	Fits *bool `json:"fits,omitempty"`
}

// NewVersion returns the view with the CLI's version.
func NewVersion(cli string) *Version {
	return &Version{APIVersion: APIVersion, Kind: "Version", CLI: cli}
}

// Text writes one line for each.
func (v *Version) Text(text *Text) {
	agent := v.Agent
	if agent == "" {
		agent = "unknown"
	}
	rows := [][]Cell{Cells("CLI", v.CLI), Cells("Agent", agent)}
	switch {
	case v.Fits == nil:
	case *v.Fits:
		rows = append(rows, []Cell{{Text: "Compatible"}, {Text: "yes", Tone: Good}})
	default:
		rows = append(rows, []Cell{{Text: "Compatible"}, {Text: "NO: use a CLI of the agent's version, or kubectl nodecleanup upgrade --wait", Tone: Bad}})
	}
	text.Table(rows)
}

// Short writes one line.
func (v *Version) Short(text *Text) {
	switch {
	case v.Agent == "":
		text.Line("%s", v.CLI)
	case v.Fits != nil && !*v.Fits:
		text.Line("CLI %s, agent %s: NOT compatible", v.CLI, v.Agent)
	default:
		text.Line("CLI %s, agent %s", v.CLI, v.Agent)
	}
}

// Names returns the CLI's version.
func (v *Version) Names() []string { return []string{"version/" + v.CLI} }
