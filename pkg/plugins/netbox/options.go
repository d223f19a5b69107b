// Package netbox is the plugin that sets the status of the device or virtual machine of a Node in NetBox, or deletes
// it there.
package netbox

import (
	"cmp"
	_ "embed"
	"fmt"
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

type options struct {
	// URL is the root of NetBox, such as `https://netbox.example.com`, without `/api`.
	URL string `json:"url" jsonschema:"required"`
	// Token is an API token, in a Secret. A token that begins with `nbt_` is sent as version 2, any other as version 1.
	Token cleanup.Value `json:"token" jsonschema:"required"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// Kind is what the Node is in NetBox.
	Kind string `json:"kind" jsonschema:"enum=Device,enum=VirtualMachine"`
	// Field is the field that identifies the device or virtual machine: `name`, `serial`, `asset_tag`, or `cf_` and the
	// name of a custom field. Names are unique only within a site or cluster.
	Field string `json:"field"`
	// Value is the value of `field`, as a template. Letter case does not matter, except in custom fields.
	Value cleanup.Template `json:"value"`
	// Site is the slug of the site to which the search is limited.
	Site string `json:"site"`
	// Cluster is the name of the cluster in NetBox to which the search is limited.
	Cluster string `json:"cluster"`
	// MatchAddress also demands that a primary IP address in NetBox is an address of the Node. Otherwise, the step
	// fails and changes nothing.
	MatchAddress bool `json:"matchAddress" jsonschema:"default=false"`
	// MustExist makes the step fail if NetBox has no such device or virtual machine. Otherwise, the step is done then.
	MustExist bool `json:"mustExist" jsonschema:"default=false"`
	// Action is what to do with it. NetBox deletes what belongs to a record together with it, such as its interfaces.
	Action string `json:"action" jsonschema:"enum=SetStatus,enum=Delete"`
	// Status is the status that `SetStatus` sets.
	Status string `json:"status"`
}

const (
	kindDevice  = "Device"
	kindMachine = "VirtualMachine"

	actionSetStatus = "SetStatus"
	actionDelete    = "Delete"

	// customPrefix is how a filter names a custom field.
	customPrefix = "cf_"
)

var (
	// customField is the form of a filter for a custom field. NetBox allows no two underscores in a row in a name.
	customField = regexp.MustCompile(`^cf_[A-Za-z0-9]+(_[A-Za-z0-9]+)*$`)
	// statusForm is the form of a status. An administrator of NetBox can add some with FIELD_CHOICES.
	statusForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,50}$`)
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" || strings.HasSuffix(strings.TrimRight(parsed.Path, "/"), "/api") {
		fault("url", "must be the root of NetBox, without /api, a user and a query")
	}
	if problem := cmp.Or(httpclient.SecretProblem(o.Token), o.Token.Problem()); problem != "" {
		fault("token", "%s", problem)
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	if kinds := []string{kindDevice, kindMachine}; !slices.Contains(kinds, o.Kind) {
		fault("kind", "must be one of %s, not %q", strings.Join(kinds, ", "), o.Kind)
	}
	if !slices.Contains([]string{"name", "serial", "asset_tag"}, o.Field) && !customField.MatchString(o.Field) {
		fault("field", "must be name, serial, asset_tag, or cf_ and the name of a custom field, not %q", o.Field)
	}
	if o.Field == "asset_tag" && o.Kind == kindMachine {
		fault("field", "a virtual machine has no asset_tag")
	}
	if problem := o.Value.Problem(); problem != "" {
		fault("value", "%s", problem)
	} else if o.Value.Empty() {
		fault("value", "must not be empty")
	}
	if o.Cluster != "" && o.Kind == kindDevice {
		fault("cluster", "applies only to the kind %s", kindMachine)
	}
	if actions := []string{actionSetStatus, actionDelete}; !slices.Contains(actions, o.Action) {
		fault("action", "must be one of %s, not %q", strings.Join(actions, ", "), o.Action)
	}
	if !statusForm.MatchString(o.Status) {
		fault("status", "must be the value of a status in NetBox, such as %s, not %q", defaultStatus, o.Status)
	}
	return faults
}

const defaultStatus = "decommissioning"

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Kind: kindDevice, Field: "name", Value: cleanup.MustTemplate("${node.name}"), Action: actionSetStatus, Status: defaultStatus}
	return cleanup.Descriptor{
		Name:           "netbox",
		Summary:        "sets the status of the node's device or virtual machine in NetBox",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: newAPI(o, client, secrets)}, nil
		}),
	}
}
