// Package plugins is the catalog: every plugin that the default agent has.
package plugins

import (
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	httpplugin "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/http"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/logger"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/volumes"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/webhook"
)

// Dependencies give plugins access to the cluster and to other systems. With the zero value, the
// catalog still describes every plugin and checks its options, which is enough for a CLI.
type Dependencies struct {
	Kubernetes kubernetes.Interface
	HTTP       *http.Client
	Secrets    cleanup.Secrets
	// Clock follows the API server's time. Plugins compare it with Target.Began and with
	// timestamps that the API server writes, such as the deletion time of a Pod.
	Clock clock.WithTicker
	// Evictions bounds the evictions of all Nodes together; nil has no limit.
	Evictions *drain.Limiter
}

// Catalog lists the plugins. Adding one is a line here and a folder beside this file.
func Catalog(d Dependencies) []cleanup.Descriptor {
	return []cleanup.Descriptor{
		drain.Descriptor(d.Kubernetes, d.Clock, d.Evictions),
		httpplugin.Descriptor(d.HTTP, d.Secrets),
		logger.Descriptor(),
		volumes.Descriptor(d.Kubernetes, d.Clock),
		webhook.Descriptor(d.HTTP, d.Secrets, d.Clock),
	}
}
