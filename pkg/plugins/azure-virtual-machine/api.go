package azurevirtualmachine

import (
	"context"
	"errors"
)

// ErrNotFound is the error of API for a virtual machine that does not exist. A resource group that Azure does not
// find is another error: Azure can answer so for a while although it exists, see
// https://github.com/kubernetes-sigs/cloud-provider-azure/issues/1296.
var ErrNotFound = errors.New("the virtual machine does not exist")

// The provisioning states that the plugin knows.
const (
	StateDeleting = "Deleting"
	StateFailed   = "Failed"
)

// VM is the state of a virtual machine.
type VM struct {
	// VMID is the ID that Azure gives to each new virtual machine. Another one with the same name has another
	// VMID.
	VMID string
	// ComputerName is the host name at the creation. It is empty if the virtual machine was made from a disk that
	// has a host name.
	ComputerName string
	// State is the provisioning state, such as Succeeded or StateDeleting.
	State string
	// Message is why the state is StateFailed. It is empty if Azure does not say so.
	Message string
}

// API is the part of Azure Resource Manager that the plugin uses. Errors contain no secret. They are marked by
// cleanup.RetryAfter if Azure limits the rate, and by cleanup.Permanent if the request is invalid.
type API interface {
	// Get returns the state of a virtual machine, or ErrNotFound.
	Get(ctx context.Context, cloud string, id ID) (VM, error)
	// Delete requests the deletion of a virtual machine. Azure deletes it later. It is no error if the deletion
	// was requested before. ErrNotFound is possible.
	Delete(ctx context.Context, cloud string, id ID) error
}
