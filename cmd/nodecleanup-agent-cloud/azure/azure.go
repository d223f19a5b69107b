// Package azure implements what the plugins of Azure need with the SDK of Azure.
package azure

import (
	"fmt"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	azurevirtualmachine "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/azure-virtual-machine"
)

// Options configure the clients of Azure.
type Options struct {
	// HTTP sends the requests.
	HTTP policy.Transporter
	// Credential, unless it is nil, is used instead of the workload identity of the Pod or, without one, the managed
	// identity of the machine.
	Credential azcore.TokenCredential
}

// account makes the clients of subscriptions and keeps them, with the credential of each cloud. It makes no request. C
// are the clients of one subscription.
type account[C any] struct {
	Options
	// build makes the clients of a subscription.
	build         func(subscription string, credential azcore.TokenCredential, options *arm.ClientOptions) (C, error)
	mutex         sync.Mutex
	credentials   map[string]azcore.TokenCredential
	subscriptions map[string]*subscription[C]
}

// subscription is a subscription with its clients and its limits.
type subscription[C any] struct {
	clients C
	*limit
}

func newAccount[C any](options Options, build func(string, azcore.TokenCredential, *arm.ClientOptions) (C, error)) *account[C] {
	return &account[C]{Options: options, build: build, credentials: map[string]azcore.TokenCredential{}, subscriptions: map[string]*subscription[C]{}}
}

var clouds = map[string]cloud.Configuration{
	azurevirtualmachine.CloudPublic:     cloud.AzurePublic,
	azurevirtualmachine.CloudGovernment: cloud.AzureGovernment,
	azurevirtualmachine.CloudChina:      cloud.AzureChina,
}

// subscription returns a subscription of a cloud. An error is not kept.
func (a *account[C]) subscription(name, id string) (*subscription[C], error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	key := name + "/" + id
	if known := a.subscriptions[key]; known != nil {
		return known, nil
	}
	configuration, found := clouds[name]
	if !found {
		return nil, fmt.Errorf("cloud %q is unknown", name)
	}
	// The agent retries, by the config of the step.
	options := policy.ClientOptions{Cloud: configuration, Transport: a.HTTP, Retry: policy.RetryOptions{MaxRetries: -1}}
	if a.credentials[name] == nil {
		credential, err := a.credential(options)
		if err != nil {
			return nil, fmt.Errorf("preparing the credential for Azure: %w", err)
		}
		a.credentials[name] = credential
	}
	// Otherwise the SDK registers resource providers, which the agent has no right to do.
	clients, err := a.build(id, a.credentials[name], &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	if err != nil {
		return nil, fmt.Errorf("preparing requests to Azure: %w", err)
	}
	a.subscriptions[key] = &subscription[C]{clients, newLimit()}
	return a.subscriptions[key], nil
}

// credential returns the workload identity if its webhook has set the environment of the Pod, see
// https://azure.github.io/azure-workload-identity/docs/quick-start.html, and the managed identity otherwise.
func (a *account[C]) credential(options policy.ClientOptions) (azcore.TokenCredential, error) {
	if a.Credential != nil {
		return a.Credential, nil
	}
	if os.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "" {
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: options})
	}
	managed := azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if id := os.Getenv("AZURE_CLIENT_ID"); id != "" {
		managed.ID = azidentity.ClientID(id)
	}
	return azidentity.NewManagedIdentityCredential(&managed)
}
