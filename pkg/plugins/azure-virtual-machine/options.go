// Package azurevirtualmachine is the plugin that deletes the virtual machine of a Node in Azure. It needs no SDK: an
// agent that has one passes an implementation of API.
package azurevirtualmachine

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Name is the name of the plugin.
const Name = "azure-virtual-machine"

//go:embed schema.json
var schema []byte

// The clouds of the option cloud.
const (
	CloudPublic     = "AzurePublic"
	CloudGovernment = "AzureGovernment"
	CloudChina      = "AzureChina"
)

type options struct {
	// ResourceGroups are the IDs of the resource groups with the virtual machines of the Nodes. The step fails for a
	// Node whose provider ID names another resource group.
	ResourceGroups []string `json:"resourceGroups" jsonschema:"required,minItems=1"`
	// SkipIdentityCheck also deletes a virtual machine that does not seem to be that of the Node: its host name and
	// its name differ from the name of the Node, or its `vmId` from the system UUID of the Node.
	SkipIdentityCheck bool `json:"skipIdentityCheck"`
	// Cloud is the cloud of Azure.
	Cloud string `json:"cloud" jsonschema:"enum=AzurePublic,enum=AzureGovernment,enum=AzureChina"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if len(o.ResourceGroups) == 0 {
		fault("resourceGroups", "must not be empty")
	}
	seen := map[string]bool{}
	for i, id := range o.ResourceGroups {
		path, lower := fmt.Sprintf("resourceGroups[%d]", i), strings.ToLower(id)
		switch {
		case !resourceGroupID.MatchString(id):
			fault(path, "must be the ID of a resource group, such as /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/nodes, not %q", id)
		case seen[lower]:
			fault(path, "is listed twice")
		}
		seen[lower] = true
	}
	if clouds := []string{CloudPublic, CloudGovernment, CloudChina}; !slices.Contains(clouds, o.Cloud) {
		fault("cloud", "must be %s, not %q", strings.Join(clouds, ", "), o.Cloud)
	}
	return faults
}

// Descriptor describes the plugin to the catalog. With a nil API it previews and checks options.
func Descriptor(api API, clock clock.WithTicker) cleanup.Descriptor {
	defaults := options{Cloud: CloudPublic}
	return cleanup.Descriptor{
		Name:           Name,
		Summary:        "deletes the node's virtual machine in Azure, and waits",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 20 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: api, clock: clock}, nil
		}),
	}
}
