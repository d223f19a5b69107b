package azurevirtualmachine

import (
	"fmt"
	"regexp"
	"strings"
)

// ID names a virtual machine.
type ID struct {
	Subscription, ResourceGroup string
	// ScaleSet is set for an instance of a scale set with uniform orchestration, which has an API of its own. A
	// virtual machine of a scale set with flexible orchestration is like one without a scale set.
	ScaleSet string
	// Name is the name of the virtual machine or, in a ScaleSet, the number of the instance.
	Name string
}

// scheme begins each provider ID of a Node in Azure.
const scheme = "azure://"

const (
	subscriptionPattern  = `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`
	resourceGroupPattern = `[-\w.()]+`
	namePattern          = `[-\w.]+`
)

var (
	// The forms are those of
	// https://github.com/kubernetes-sigs/cloud-provider-azure/blob/master/pkg/provider/azure_vmss.go
	// (GetNodeNameByProviderID) and azure_vmssflex.go. Names in Azure have no case.
	providerID = regexp.MustCompile(`(?i)^azure:///subscriptions/(` + subscriptionPattern + `)/resourceGroups/(` + resourceGroupPattern +
		`)/providers/Microsoft\.Compute/(?:virtualMachineScaleSets/(` + namePattern + `)/)?virtualMachines/(` + namePattern + `)$`)
	resourceGroupID = regexp.MustCompile(`(?i)^/subscriptions/(` + subscriptionPattern + `)/resourceGroups/(` + resourceGroupPattern + `)$`)
	instanceNumber  = regexp.MustCompile(`^\d+$`)
)

// parse returns the virtual machine that a provider ID names.
func parse(id string) (ID, error) {
	parts := providerID.FindStringSubmatch(id)
	if parts == nil {
		return ID{}, fmt.Errorf("provider ID %q does not name a virtual machine: it must be %s/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/"+
			"virtualMachines/NAME or …/virtualMachineScaleSets/SET/virtualMachines/NUMBER", id, scheme)
	}
	result := ID{Subscription: strings.ToLower(parts[1]), ResourceGroup: parts[2], ScaleSet: parts[3], Name: parts[4]}
	if result.ScaleSet == "" {
		return result, nil
	}
	// SET_NUMBER is the name of the same instance, which some systems write instead of its number.
	if prefix := result.ScaleSet + "_"; len(result.Name) > len(prefix) && strings.EqualFold(result.Name[:len(prefix)], prefix) {
		result.Name = result.Name[len(prefix):]
	}
	if !instanceNumber.MatchString(result.Name) {
		return ID{}, fmt.Errorf("provider ID %q does not name an instance of scale set %s: it must end with its number", id, result.ScaleSet)
	}
	return result, nil
}

// String returns NAME or SET/NUMBER.
func (i ID) String() string {
	if i.ScaleSet == "" {
		return i.Name
	}
	return i.ScaleSet + "/" + i.Name
}

// in reports whether the virtual machine is in a resource group.
func (i ID) in(group string) bool {
	parts := resourceGroupID.FindStringSubmatch(group)
	return parts != nil && strings.EqualFold(parts[1], i.Subscription) && strings.EqualFold(parts[2], i.ResourceGroup)
}
