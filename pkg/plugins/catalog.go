// Package plugins is the catalog: the plugins of the default agent, and those of the agent for clouds.
package plugins

import (
	"context"
	"net"
	"net/http"
	"slices"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/alertmanager"
	awsautoscaling "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-auto-scaling"
	awsec2instance "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-ec2-instance"
	awstargetgroups "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/aws-target-groups"
	azurevirtualmachine "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/azure-virtual-machine"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/cmdb"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/consul"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/dns"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/email"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/etcd"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/grafana"
	httpplugin "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/http"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/job"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/logger"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/longhorn"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/netbox"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/pagerduty"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/portworx"
	rookceph "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/rook-ceph"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/servicenow"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/slack"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/teams"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/volumes"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/webhook"
)

// Dependencies give plugins access to the cluster and to other systems. With the zero value, the
// catalog still describes every plugin and checks its options, which is enough for a CLI.
type Dependencies struct {
	Kubernetes kubernetes.Interface
	HTTP       *http.Client
	// Dial connects to systems that do not use HTTP. The agent's refuses to write once the agent is no longer the
	// leader. It is nil in a program that calls no other system, such as a CLI.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Secrets cleanup.Secrets
	// Clock follows the API server's time. Plugins compare it with Target.Began and with
	// timestamps that the API server writes, such as the deletion time of a Pod.
	Clock clock.WithTicker
	// Namespace is the agent's, empty if it is not known.
	Namespace string
	// Evictions bounds the evictions of all Nodes together; nil has no limit.
	Evictions *drain.Limiter
}

// Clouds are clients of cloud providers, which need the SDK of the provider. Only an agent that has it sets them.
type Clouds struct {
	// AutoScaling is EC2 Auto Scaling.
	AutoScaling awsautoscaling.API
	// EC2Instances are the instances of EC2.
	EC2Instances awsec2instance.API
	// TargetGroups are those of Elastic Load Balancing.
	TargetGroups awstargetgroups.API
	// AzureVirtualMachines are those of Azure Resource Manager.
	AzureVirtualMachines azurevirtualmachine.API
}

// CloudCatalog lists the plugins of cloud providers. cmd/nodecleanup-agent-cloud has them in addition to those of
// Catalog. With the zero values, it describes each plugin and checks its options, which is enough for a CLI.
func CloudCatalog(d Dependencies, c Clouds) []cleanup.Descriptor {
	return []cleanup.Descriptor{
		awsautoscaling.Descriptor(c.AutoScaling, d.Kubernetes, d.Clock),
		awsec2instance.Descriptor(c.EC2Instances, d.Kubernetes, d.Clock),
		awstargetgroups.Descriptor(c.TargetGroups, d.Kubernetes, d.Clock),
		azurevirtualmachine.Descriptor(c.AzureVirtualMachines, d.Clock),
	}
}

// All describes every plugin of the released agents, for a CLI.
func All(d Dependencies) []cleanup.Descriptor {
	return slices.Concat(Catalog(d), CloudCatalog(d, Clouds{}))
}

// Catalog lists the plugins of the default agent. Adding one is a line here and a folder beside this file.
func Catalog(d Dependencies) []cleanup.Descriptor {
	return []cleanup.Descriptor{
		alertmanager.Descriptor(d.HTTP, d.Secrets, d.Clock),
		cmdb.Descriptor(d.HTTP, d.Secrets),
		consul.Descriptor(d.HTTP, d.Secrets, d.Clock),
		dns.Descriptor(d.HTTP, d.Dial, d.Secrets),
		drain.Descriptor(d.Kubernetes, d.Clock, d.Evictions),
		email.Descriptor(d.Dial, d.Secrets),
		etcd.Descriptor(d.Kubernetes, d.HTTP, d.Secrets),
		grafana.Descriptor(d.HTTP, d.Secrets),
		httpplugin.Descriptor(d.HTTP, d.Secrets),
		job.Descriptor(d.Kubernetes, d.Clock, d.Namespace),
		logger.Descriptor(),
		longhorn.Descriptor(d.Kubernetes, d.Clock),
		netbox.Descriptor(d.HTTP, d.Secrets),
		pagerduty.Descriptor(d.HTTP, d.Secrets),
		portworx.Descriptor(d.Kubernetes, d.HTTP, d.Secrets, d.Clock, d.Namespace),
		rookceph.Descriptor(d.Kubernetes, d.Clock, d.Namespace),
		servicenow.Descriptor(d.HTTP, d.Secrets),
		slack.Descriptor(d.HTTP, d.Secrets),
		teams.Descriptor(d.HTTP, d.Secrets),
		volumes.Descriptor(d.Kubernetes, d.Clock),
		webhook.Descriptor(d.HTTP, d.Secrets, d.Clock),
	}
}
