package printer

// Version is the view of which versions there are.
type Version struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	CLI        string `json:"cli"`
	// Agent is empty when no agent has said its version.
	Agent string `json:"agent,omitempty"`
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
	text.Table([][]Cell{Cells("CLI", v.CLI), Cells("Agent", agent)})
}

// Short writes one line.
func (v *Version) Short(text *Text) {
	if v.Agent == "" {
		text.Line("%s", v.CLI)
		return
	}
	text.Line("CLI %s, agent %s", v.CLI, v.Agent)
}
