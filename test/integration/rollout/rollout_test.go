// Package rollout_test replaces agents, and their certificates, while Nodes are
// created: no creation may fail or come out unprotected.
package rollout_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	testTimeout = 30 * time.Second
	restarts    = 12
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "rollout"}, func(c *cluster.Cluster) { shared = c }))
}

func TestRolloutLosesNoNode(t *testing.T) {
	admin, service := setUp(t)
	running := []*replica{start(t, "agent-0"), start(t, "agent-1")}
	for _, one := range running {
		service.add(one.webhook)
	}
	load := startLoad(t, admin)
	for i := range restarts {
		young := start(t, fmt.Sprintf("agent-%d", i+2))
		service.add(young.webhook)
		old := running[0]
		running = append(running[1:], young)
		before := load.calls.Load()
		// Who deletes a Pod has it stopped at once, and only then it is taken out of its Service, of
		// which every machine learns in its own time.
		stopped := make(chan struct{})
		go func() { defer close(stopped); old.stop() }()
		learns := time.NewTimer(time.Duration(1+i%3) * time.Second)
		<-learns.C
		service.remove(old.webhook)
		<-stopped
		if load.calls.Load() == before {
			t.Error("nothing was created during a restart: it proves nothing")
		}
	}
	load.end()
	t.Logf("%d restarts, %s", restarts, load)
}
