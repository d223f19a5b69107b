// Package soak_test deletes Nodes for minutes while everything around them breaks, and has an
// independent checker look at each release. See CONTRIBUTING.md for how to run it.
package soak_test

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

var (
	duration  = flag.Duration("duration", 150*time.Second, "how long things break; after that everything recovers, and all nodes are deleted")
	nodeCount = flag.Int("nodes", 40, "nodes at a time; new ones are created as others go")
	rate      = flag.Float64("rate", 4, "actions in a second")
	seed      = flag.Uint64("seed", 0, "seed of the actions; 0 takes a new one")
	agentPath = flag.String("agent", "", "agent to run instead of the one that is built from these sources")
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(cluster.Main(m, cluster.Options{Name: "soak", WithControllerManager: true, WithScheduler: true, WithKwok: true},
		func(c *cluster.Cluster) { shared = c }))
}
