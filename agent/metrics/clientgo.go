package metrics

import (
	"k8s.io/component-base/metrics/legacyregistry"

	// Each import registers the metrics of a part of client-go.
	_ "k8s.io/component-base/metrics/prometheus/clientgo/leaderelection" // leader_election_*
	_ "k8s.io/component-base/metrics/prometheus/restclient"              // rest_client_*
	_ "k8s.io/component-base/metrics/prometheus/workqueue"               // workqueue_*
)

// clientGo gathers the metrics of client-go, the Go runtime and the process, with the names that
// the Kubernetes components have. client-go has one set of them for a process.
var clientGo = legacyregistry.DefaultGatherer
