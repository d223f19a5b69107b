// Package grafana is the plugin that marks the cleanup of a Node in Grafana, as an annotation of a region.
package grafana

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

// The actions of a step.
const (
	begin = "begin"
	end   = "end"
)

type options struct {
	// URL is the address of Grafana, such as `https://grafana.example.com`.
	URL string `json:"url" jsonschema:"required"`
	// Token is the token of a service account, in a Secret.
	Token cleanup.Value `json:"token" jsonschema:"required"`
	// Action is `begin` to mark the start of the region, or `end` to complete it.
	Action string `json:"action" jsonschema:"enum=begin,enum=end"`
	// Correlation connects the two steps of a region: set the same value in both. A Node can have several regions with
	// different values.
	Correlation string `json:"correlation"`
	// Text is the text of a new annotation. Grafana shows it as HTML. The plugin escapes the values of references.
	Text cleanup.Template `json:"text"`
	// Tags are further tags of a new annotation, such as `cluster:prod`. Dashboards find the annotation by its tags.
	Tags []string `json:"tags"`
	// DashboardUID is the UID of the only dashboard that shows the annotation. Without it, each dashboard with a query
	// for the tags shows it.
	DashboardUID string `json:"dashboardUID"`
	// PanelID is the ID of the only panel that shows the annotation. It needs `dashboardUID`.
	PanelID int64 `json:"panelID"`
	// CABundle is the CAs in PEM that verify Grafana's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
}

// maxTags is the size limit of the tags of an annotation as JSON, in bytes: tags_length in
// https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/#annotations.
const maxTags = 500

// uidLength is the length of the UID of a Node.
const uidLength = 36

var (
	correlationForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	dashboardForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problem := urlProblem(o.URL); problem != "" {
		fault("url", "%s", problem)
	}
	if o.Token.Empty() {
		fault("token", "is required: {secretKeyRef: {name: …, key: …}}")
	} else if problem := httpclient.SecretProblem(o.Token); problem != "" {
		fault("token", "%s", problem)
	}
	if o.Action != begin && o.Action != end {
		fault("action", "must be begin or end, not %q", o.Action)
	}
	if !correlationForm.MatchString(o.Correlation) {
		fault("correlation", "must have 1 to 63 letters, digits, \".\", \"_\" and \"-\", not %q", o.Correlation)
	}
	if o.Text.Empty() {
		fault("text", "must not be empty")
	} else if problem := o.Text.Problem(); problem != "" {
		fault("text", "%s", problem)
	}
	for i, tag := range o.Tags {
		if problem := tagProblem(tag); problem != "" {
			fault(fmt.Sprintf("tags[%d]", i), "%s", problem)
		}
	}
	if all, err := json.Marshal(append(o.identity(strings.Repeat("x", uidLength)), o.Tags...)); err == nil && len(all) > maxTags {
		fault("tags", "are too long: all tags have %d bytes, Grafana allows %d", len(all), maxTags)
	}
	if o.DashboardUID != "" && !dashboardForm.MatchString(o.DashboardUID) {
		fault("dashboardUID", "must be the UID in the URL of a dashboard, not %q", o.DashboardUID)
	}
	switch {
	case o.PanelID < 0:
		fault("panelID", "must not be negative")
	case o.PanelID > 0 && o.DashboardUID == "":
		fault("panelID", "needs the option dashboardUID")
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	return faults
}

func urlProblem(text string) string {
	parsed, err := httpclient.ParseURL(text)
	switch {
	case err != nil:
		return err.Error()
	case parsed.User != nil:
		return "must not contain credentials: use the option token"
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return "must not have a query or a fragment"
	}
	return ""
}

// ownTags are the keys of the tags that identify an annotation.
func ownTags() []string { return []string{"nodecleanup", "node-uid", "correlation"} }

func tagProblem(tag string) string {
	key, value, hasValue := strings.Cut(tag, ":")
	switch {
	case key == "" || hasValue && value == "" || tag != strings.TrimSpace(tag) || key != strings.TrimSpace(key) || value != strings.TrimSpace(value):
		return "must be KEY or KEY:VALUE, without spaces at their ends"
	case strings.Contains(value, ":"):
		return "must not have a second \":\": Grafana would drop what follows it"
	case strings.ContainsFunc(tag, unicode.IsControl) || len(key) > 100 || len(value) > 100:
		return "must have a key and a value of at most 100 characters, in one line"
	case slices.Contains(ownTags(), key):
		return "is set by the plugin"
	}
	return ""
}

// identity returns the tags that identify the annotations of a Node.
func (o *options) identity(uid string) []string {
	return []string{"nodecleanup", "node-uid:" + uid, "correlation:" + o.Correlation}
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Action: begin, Correlation: "cleanup", Text: cleanup.MustTemplate("Cleanup of node ${node.name}")}
	return cleanup.Descriptor{
		Name:           "grafana",
		Summary:        "marks the cleanup of the node as a region in Grafana",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: newAPI(o, client, secrets)}, nil
		}),
	}
}
