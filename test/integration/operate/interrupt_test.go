package operate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

const onlyDrain = "steps: [{name: drain, plugin: drain}]\n"

// endsWith checks the error of an interrupted command and its next step.
func (f *fixture) endsWith(err error, text, next string) {
	f.Helper()
	exitError := &exit.Error{}
	if !errors.As(err, &exitError) || !strings.Contains(exitError.Error(), text) || !strings.Contains(exitError.Next, next) {
		f.Errorf("it ended with: %v\nNext: %s\nwant %q and %q", err, exitError.Next, text, next)
	}
}

// The agent deletes no node. A user who interrupts cleanup --delete gets a message about it, and
// can continue with the printed command.
func TestInterruptedCleanupCommandCanBeResumed(t *testing.T) {
	f := setUp(t, onlyDrain)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)

	interrupted, interrupt := context.WithCancel(t.Context())
	_, ended := f.beginIn(interrupted, "cleanup", "worker", "--even-if-blocked", "--delete", "--yes")
	f.awaitState("worker", api.Running)
	interrupt()
	const again = "kubectl nodecleanup cleanup worker --delete --yes"
	f.endsWith(<-ended, "waiting for the cleanup of node worker: interrupted; it is Running: 0 of 1 step done",
		"The agent continues the cleanup. Afterwards it deletes no node. To follow it: "+again+". To withdraw the request: kubectl annotate node worker")
	stamp := f.read("worker").Annotations[api.AnnotationCleanupRequestedAt]

	f.run("cleanup", "worker").exits(exit.OK).says("node/worker cleanup already requested by admin")
	f.run("cleanup", "worker", "--plan", "00000-00000-00000-00000", "--wait").exits(exit.Failure).says("cleanup already requested by admin, and it runs any plan")
	f.run("cleanup", "worker", "--delete").exits(exit.Usage).says("The cleanup of node worker was already requested. Delete it afterwards?", "--yes")
	f.run("cleanup", "worker", "--wait", "--timeout", "1s").exits(exit.TimedOut).says("The agent continues the cleanup. To follow it: kubectl nodecleanup cleanup worker --wait")
	arguments := strings.Fields(strings.TrimPrefix(again, "kubectl nodecleanup "))
	f.run(append(arguments, "--timeout", "1s")...).exits(exit.TimedOut).says("1/1 drain: ", "not completed within --timeout; it is Running", "Afterwards it deletes no node", again)
	if now := f.read("worker").Annotations[api.AnnotationCleanupRequestedAt]; now != stamp {
		t.Errorf("the request was %q and is %q: the cleanup started again", stamp, now)
	}

	out, ended := f.begin(arguments...)
	f.eventually("it follows", func(context.Context) (bool, error) { return strings.Contains(out.String(), "1/1 drain: "), nil })
	f.dropBudget("cart")
	if err := <-ended; err != nil || !strings.Contains(out.String(), "node/worker cleaned up and deleted") {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
	if f.read("worker") != nil {
		t.Error("the node is still there")
	}
}

func TestPendingCleanupIsNotRequestedAgain(t *testing.T) {
	f := setUp(t, onlyDrain)
	f.node("worker", nil)
	f.run("cleanup", "worker", "--yes").exits(exit.OK)
	stamp := f.read("worker").Annotations[api.AnnotationCleanupRequestedAt]
	f.run("cleanup", "worker", "--yes").exits(exit.OK).says("node/worker cleanup already requested by admin")
	if now := f.read("worker").Annotations[api.AnnotationCleanupRequestedAt]; stamp == "" || now != stamp {
		t.Errorf("the request was %q and is %q", stamp, now)
	}
}

func TestWaitFollowsTheCleanupOfADeletedNode(t *testing.T) {
	f := setUp(t, onlyDrain)
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.delete("worker")
	f.awaitState("worker", api.Running)
	out, ended := f.begin("cleanup", "worker", "--delete", "--yes")
	f.eventually("it follows", func(context.Context) (bool, error) { return strings.Contains(out.String(), "1/1 drain: "), nil })
	f.dropBudget("cart")
	if err := <-ended; err != nil || !strings.Contains(out.String(), "node/worker is already being deleted") {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
}

func TestWaitReportsAMissingLeader(t *testing.T) {
	f := setUp(t, onlyDrain)
	stop := f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	for _, arguments := range [][]string{{"cleanup", "worker", "--even-if-blocked", "--wait", "--yes"}, {"retry", "worker", "--wait"}} {
		interrupted, interrupt := context.WithCancel(t.Context())
		out, ended := f.beginIn(interrupted, arguments...)
		f.awaitState("worker", api.Running)
		stop()
		f.eventually("it says that no agent leads", func(context.Context) (bool, error) {
			said := out.String()
			return strings.Contains(said, "WARNING: no agent in namespace "+f.namespace+" is the leader") && strings.Contains(said, "1/1 drain: "), nil
		})
		interrupt()
		f.endsWith(<-ended, "interrupted; it is Running", "No agent in namespace "+f.namespace+" is the leader, so the cleanup waits. Find out why: kubectl nodecleanup check")
	}
}
