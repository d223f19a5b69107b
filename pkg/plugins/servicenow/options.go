// Package servicenow is the plugin that opens, updates and closes an incident or a change in ServiceNow for the cleanup
// of a Node.
package servicenow

import (
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

// The values of options.
const (
	incident = "incident"
	change   = "change"

	actionOpen   = "open"
	actionUpdate = "update"
	actionClose  = "close"

	standard  = "standard"
	normal    = "normal"
	emergency = "emergency"
)

// apiKeyHeader is the default header of a REST API key:
// https://www.servicenow.com/docs/r/platform-security/authentication/configure-api-key.html.
const apiKeyHeader = "x-sn-apikey"

type options struct {
	// URL is the address of the instance, such as `https://example.service-now.com`.
	URL string `json:"url" jsonschema:"required"`
	// Username is the user for Basic authentication. It needs `password`. Set either it, or `clientID`, or `apiKey`.
	Username string `json:"username"`
	// Password is the password of `username`, in a Secret.
	Password cleanup.Value `json:"password"`
	// ClientID is the ID of an OAuth client, for the grant type client credentials. It needs `clientSecret`.
	ClientID string `json:"clientID"`
	// ClientSecret is the secret of `clientID`, in a Secret.
	ClientSecret cleanup.Value `json:"clientSecret"`
	// APIKey is a REST API key, in a Secret. The plugin sends it in the header `x-sn-apikey`.
	APIKey cleanup.Value `json:"apiKey"`
	// Record is the kind of the record.
	Record string `json:"record" jsonschema:"enum=incident,enum=change"`
	// Action is what the step does with the record of the Node.
	Action string `json:"action" jsonschema:"enum=open,enum=update,enum=close"`
	// ChangeType is the type of a new change: `standard`, `normal` or `emergency`. Only a standard change is approved in
	// advance. It is required to open a change.
	ChangeType string `json:"changeType" jsonschema:"enum=standard,enum=normal,enum=emergency"`
	// Template is the `sys_id` of the template of a standard change.
	Template string `json:"template"`
	// Correlation connects the steps of a record: set the same value in all of them. A Node can have several records with
	// different values.
	Correlation string `json:"correlation"`
	// Fields are the fields to set: name to value. A reference field needs the `sys_id` of its record. ServiceNow ignores an
	// unknown field. A new record has the `short_description` "Cleanup of node NAME", unless you set it or the change is
	// standard.
	Fields map[string]cleanup.Template `json:"fields"`
	// States are the values of the states through which the step moves the record, in order. If it is in one of them,
	// the step continues with the next one. By default, `close` moves an incident to `[6]` (Resolved), and a change to
	// `[-1, 0, 3]` (Implement, Review, Closed).
	States []int `json:"states"`
	// ClosedStates are the values of the states in which a record counts as closed, in addition to records that are not
	// active. The default is `[6, 7, 8]` for an incident, and `[3, 4]` for a change.
	ClosedStates []int `json:"closedStates"`
	// CloseCode is the `close_code` of the record, such as `successful` for a change. The values depend on the instance. It is
	// required to close a record.
	CloseCode string `json:"closeCode"`
	// CloseNotes are the `close_notes` of the record. The default is "Node NAME was cleaned up".
	CloseNotes cleanup.Template `json:"closeNotes"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
}

var (
	// correlationForm has no character that has a meaning in a query, such as "^". It is in lower case, because queries do not
	// distinguish cases.
	correlationForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?$`)
	sysIDForm       = regexp.MustCompile(`^[0-9a-f]{32}$`)
	fieldForm       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,79}$`)
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	faults := o.connectionFaults()
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if o.Record != incident && o.Record != change {
		fault("record", "must be incident or change, not %q", o.Record)
	}
	if !slices.Contains([]string{actionOpen, actionUpdate, actionClose}, o.Action) {
		fault("action", "must be open, update or close, not %q", o.Action)
	}
	creates := o.Record == change && o.Action == actionOpen
	switch {
	case creates && !slices.Contains([]string{standard, normal, emergency}, o.ChangeType):
		fault("changeType", "must be standard, normal or emergency, not %q", o.ChangeType)
	case !creates && o.ChangeType != "":
		fault("changeType", "applies only to a step that opens a change")
	case creates && o.ChangeType == standard && !sysIDForm.MatchString(o.Template):
		fault("template", "must be the sys_id of a standard change template: 32 characters from 0 to 9 and a to f")
	case o.ChangeType != standard && o.Template != "":
		fault("template", "applies only to changeType standard")
	}
	if !correlationForm.MatchString(o.Correlation) {
		fault("correlation", "must have 1 to 40 lower case letters, digits, \".\", \"_\" and \"-\", not %q", o.Correlation)
	}
	switch {
	case o.Action == actionClose && o.CloseCode == "":
		fault("closeCode", "is required to close a record")
	case o.Action != actionClose && o.CloseCode != "":
		fault("closeCode", "applies only to a step that closes a record")
	}
	if o.Action != actionClose && !o.CloseNotes.Empty() {
		fault("closeNotes", "applies only to a step that closes a record")
	} else if problem := o.CloseNotes.Problem(); problem != "" {
		fault("closeNotes", "%s", problem)
	}
	if o.Action == actionUpdate && len(o.Fields) == 0 && len(o.States) == 0 {
		fault("fields", "an update needs fields or states")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Fields)) {
		switch value := o.Fields[name]; {
		case !fieldForm.MatchString(name):
			fault("fields", "%q is not the name of a field", name)
		case slices.Contains(ownFields(), name) || strings.HasPrefix(name, "sys_"):
			fault("fields."+name, "cannot be set here")
		case value.Problem() != "":
			fault("fields."+name, "%s", value.Problem())
		}
	}
	if states := o.states(); o.Action == actionClose && !slices.Contains(o.closedStates(), states[len(states)-1]) {
		fault("states", "must end with one of closedStates to close a record, not with %d", states[len(states)-1])
	}
	for path, states := range map[string][]int{"states": o.States, "closedStates": o.ClosedStates} {
		for i, state := range states {
			if slices.Contains(states[:i], state) {
				fault(fmt.Sprintf("%s[%d]", path, i), "state %d is listed twice", state)
			}
		}
	}
	return faults
}

// ownFields are set by the plugin, or by options of their own.
func ownFields() []string {
	return []string{"correlation_id", "correlation_display", "state", "number", "active", "close_code", "close_notes"}
}

func (o *options) connectionFaults() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		fault("url", "must not have credentials, a query or a fragment")
	}
	ways := 0
	for _, set := range []bool{o.Username != "" || !o.Password.Empty(), o.ClientID != "" || !o.ClientSecret.Empty(), !o.APIKey.Empty()} {
		if set {
			ways++
		}
	}
	switch {
	case ways != 1:
		fault("username", "set exactly one of username and password, clientID and clientSecret, or apiKey")
	case (o.Username == "") != o.Password.Empty():
		fault("password", "set both username and password")
	case (o.ClientID == "") != o.ClientSecret.Empty():
		fault("clientSecret", "set both clientID and clientSecret")
	case strings.Contains(o.Username, ":"):
		fault("username", "must not contain \":\"")
	}
	for path, value := range map[string]cleanup.Value{"password": o.Password, "clientSecret": o.ClientSecret, "apiKey": o.APIKey} {
		if problem := httpclient.SecretProblem(value); problem != "" {
			fault(path, "%s", problem)
		}
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	return faults
}

// states returns the states through which the step moves the record.
func (o *options) states() []int {
	switch {
	case len(o.States) > 0 || o.Action != actionClose:
		return o.States
	case o.Record == change:
		return []int{-1, 0, 3} // Implement, Review, Closed.
	}
	return []int{6} // Resolved.
}

// closedStates returns the states in which a record counts as closed.
func (o *options) closedStates() []int {
	switch {
	case len(o.ClosedStates) > 0:
		return o.ClosedStates
	case o.Record == change:
		return []int{3, 4} // Closed, Canceled.
	}
	return []int{6, 7, 8} // Resolved, Closed, Canceled.
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Record: incident, Action: actionOpen, Correlation: "cleanup"}
	return cleanup.Descriptor{
		Name:           "servicenow",
		Summary:        "opens, updates or closes an incident or a change in ServiceNow",
		Defaults:       cleanup.Policy{Critical: false, Timeout: time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return newPlugin(o, client, secrets), nil
		}),
	}
}
