// Package drain_test drains nodes of a real API server, whose pods kwok plays.
package drain_test

import (
	"os"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// shared is the cluster of all tests in this package. Each test has its own nodes and namespace.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{
		Name: "drain", WithControllerManager: true, WithKwok: true,
		// Only Pods with eviction responders depend on it.
		APIServerFlags: []string{"--feature-gates=EvictionRequestAPI=true", "--runtime-config=lifecycle.k8s.io/v1alpha1=true"},
	}, func(c *cluster.Cluster) { shared = c }))
}
