// Command nodecleanup-agent-cloud is the agent with plugins for cloud providers, which need their SDKs.
package main

import (
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/program"
	"github.com/nodecleanup/kubectl-nodecleanup/cmd/nodecleanup-agent-cloud/aws"
	"github.com/nodecleanup/kubectl-nodecleanup/cmd/nodecleanup-agent-cloud/azure"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

func main() { program.Main(catalog) }

// catalog lists the plugins of the default agent and those of the clouds.
func catalog(d plugins.Dependencies) []cleanup.Descriptor {
	ofAWS := aws.Options{HTTP: d.HTTP}
	return slices.Concat(plugins.Catalog(d), plugins.CloudCatalog(d, plugins.Clouds{
		AutoScaling:          aws.NewAutoScaling(ofAWS),
		EC2Instances:         aws.NewInstances(ofAWS),
		TargetGroups:         aws.NewTargetGroups(ofAWS),
		AzureVirtualMachines: azure.NewVirtualMachines(azure.Options{HTTP: d.HTTP}),
	}))
}
