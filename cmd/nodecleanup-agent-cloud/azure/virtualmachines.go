package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"

	azurevirtualmachine "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/azure-virtual-machine"
)

// virtualMachines implements azurevirtualmachine.API.
type virtualMachines struct{ *account[computeClients] }

// computeClients are the clients for the two kinds of virtual machines.
type computeClients struct {
	machines  *armcompute.VirtualMachinesClient
	instances *armcompute.VirtualMachineScaleSetVMsClient
}

// NewVirtualMachines returns the virtual machines of Azure. It makes no request.
func NewVirtualMachines(options Options) azurevirtualmachine.API {
	return &virtualMachines{newAccount(options, func(subscription string, credential azcore.TokenCredential, options *arm.ClientOptions) (computeClients, error) {
		machines, err := armcompute.NewVirtualMachinesClient(subscription, credential, options)
		if err != nil {
			return computeClients{}, err
		}
		instances, err := armcompute.NewVirtualMachineScaleSetVMsClient(subscription, credential, options)
		return computeClients{machines, instances}, err
	})}
}

// Get implements azurevirtualmachine.API. Only for a virtual machine that failed, it makes a second request, for the
// reason.
func (v *virtualMachines) Get(ctx context.Context, cloud string, id azurevirtualmachine.ID) (azurevirtualmachine.VM, error) {
	vm, err := v.read(ctx, cloud, id, nil)
	if err == nil && vm.State == azurevirtualmachine.StateFailed {
		return v.read(ctx, cloud, id, to.Ptr(armcompute.InstanceViewTypesInstanceView))
	}
	return vm, err
}

func (v *virtualMachines) read(ctx context.Context, cloud string, id azurevirtualmachine.ID, expand *armcompute.InstanceViewTypes) (vm azurevirtualmachine.VM, err error) {
	subscription, err := v.subscription(cloud, id.Subscription)
	if err != nil {
		return vm, err
	}
	err = subscription.do(ctx, reads, func() error {
		if id.ScaleSet != "" {
			answer, err := subscription.clients.instances.Get(ctx, id.ResourceGroup, id.ScaleSet, id.Name, &armcompute.VirtualMachineScaleSetVMsClientGetOptions{Expand: expand})
			if p := answer.Properties; p != nil {
				vm = state(p.VMID, p.ProvisioningState, p.OSProfile)
				if p.InstanceView != nil {
					vm.Message = failure(p.InstanceView.Statuses)
				}
			}
			return orNotFound(err)
		}
		answer, err := subscription.clients.machines.Get(ctx, id.ResourceGroup, id.Name, &armcompute.VirtualMachinesClientGetOptions{Expand: expand})
		if p := answer.Properties; p != nil {
			vm = state(p.VMID, p.ProvisioningState, p.OSProfile)
			if p.InstanceView != nil {
				vm.Message = failure(p.InstanceView.Statuses)
			}
		}
		return orNotFound(err)
	})
	return vm, err
}

func state(vmID, provisioning *string, os *armcompute.OSProfile) azurevirtualmachine.VM {
	vm := azurevirtualmachine.VM{VMID: value(vmID), State: value(provisioning)}
	if os != nil {
		vm.ComputerName = value(os.ComputerName)
	}
	return vm
}

// failure returns why the last operation failed.
func failure(statuses []*armcompute.InstanceViewStatus) string {
	for _, status := range statuses {
		if status != nil && strings.HasPrefix(strings.ToLower(value(status.Code)), "provisioningstate/failed") {
			return excerpt(value(status.Message))
		}
	}
	return ""
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// Delete implements azurevirtualmachine.API. The operation of the SDK is not kept: a later attempt has no use for it.
func (v *virtualMachines) Delete(ctx context.Context, cloud string, id azurevirtualmachine.ID) error {
	subscription, err := v.subscription(cloud, id.Subscription)
	if err != nil {
		return err
	}
	return subscription.do(ctx, deletes, func() error {
		var err error
		if id.ScaleSet != "" {
			_, err = subscription.clients.instances.BeginDelete(ctx, id.ResourceGroup, id.ScaleSet, id.Name, nil)
		} else {
			_, err = subscription.clients.machines.BeginDelete(ctx, id.ResourceGroup, id.Name, nil)
		}
		return orNotFound(err)
	})
}

// orNotFound returns azurevirtualmachine.ErrNotFound if an error says that the virtual machine or its scale set does not
// exist. Only these codes say so: a proxy can answer 404 too, and for SubscriptionNotFound or ResourceGroupNotFound,
// see azurevirtualmachine.ErrNotFound. The message is that of an instance that was deleted, see
// VmssVMNotActiveErrorMessage in https://github.com/kubernetes-sigs/cloud-provider-azure/blob/master/pkg/consts/consts.go.
func orNotFound(err error) error {
	var answered *azcore.ResponseError
	if !errors.As(err, &answered) {
		return err
	}
	switch answered.StatusCode {
	case http.StatusNotFound:
		switch answered.ErrorCode {
		case "ResourceNotFound", "ParentResourceNotFound", "NotFound":
			return azurevirtualmachine.ErrNotFound
		}
	case http.StatusBadRequest:
		if answered.RawResponse != nil && strings.Contains(message(answered.RawResponse), "not an active Virtual Machine Scale Set VM instanceId") {
			return azurevirtualmachine.ErrNotFound
		}
	}
	return err
}
