package follow

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// readLeaseEvery is how often the Lease is read: a leader renews it every 2 seconds.
const readLeaseEvery = 2 * time.Second

// Agent observes whether an agent leads while a command waits for cleanups.
type Agent struct {
	namespace string
	lease     cluster.LeaseReader
	say       func(format string, arguments ...any)
	// absent: no agent leads.
	absent atomic.Bool
}

// ObserveAgent reads the agent's Lease now and until stop is called, and reports when no agent
// leads and when one leads again.
func ObserveAgent(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time, say func(format string, arguments ...any)) (agent *Agent, stop func()) {
	agent = &Agent{namespace: namespace, lease: cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: now}, say: say}
	agent.read(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(readLeaseEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				agent.read(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	return agent, func() {
		cancel()
		group.Wait()
	}
}

// Absent reports whether no agent leads. It is false if that is not known.
func (a *Agent) Absent() bool { return a.absent.Load() }

// read changes nothing if the Lease cannot be read: whether an agent leads is not known then.
func (a *Agent) read(ctx context.Context) {
	leadership, err := a.lease.Read(ctx)
	switch {
	case err != nil || ctx.Err() != nil:
	case !leadership.HasLeader && a.absent.CompareAndSwap(false, true):
		a.say("%s", command.NoLeader(a.namespace))
	case leadership.HasLeader && a.absent.CompareAndSwap(true, false):
		a.say("An agent in namespace %s is the leader again.", a.namespace)
	}
}

// Next describes the state of cleanups that the command no longer waits for, and names the command
// that follows them without another request. Stays names the action that only that command does, if
// there is one.
func (a *Agent) Next(stays, again string) string {
	if a.Absent() {
		return fmt.Sprintf("No agent in namespace %s is the leader, so the cleanup waits. Find out why: kubectl nodecleanup check. %sTo follow the cleanup: %s", a.namespace, stays, again)
	}
	return fmt.Sprintf("The agent continues the cleanup. %sTo follow it: %s", stays, again)
}
