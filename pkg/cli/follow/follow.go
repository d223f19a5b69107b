// Package follow watches the cleanup of one node and tells its steps as they
// come: a line for each change, so that it reads the same on a terminal, in a
// pipe and in the log of a job.
package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/patience"
)

// Cleanup is where the cleanup of a node stands.
type Cleanup struct {
	// Node is nil when it is gone.
	Node *corev1.Node
	// Run is nil while there is no record.
	Run *api.Run
}

// Follower follows one node, by its UID.
type Follower struct {
	Client    kubernetes.Interface
	Namespace string
	// Say is given a line for each change.
	Say func(line string)
}

// Until follows the node until reached says so, returns an error, or ctx ends.
// It is asked after each change, and once at the beginning. While the API server does not
// answer it waits on.
func (f Follower) Until(ctx context.Context, node *corev1.Node, reached func(Cleanup) (bool, error)) error {
	said, wait := map[string]string{}, patience.Wait{Say: f.Say}
	var last Cleanup
	for {
		done, err := f.round(ctx, node, said, func(now Cleanup) (bool, error) {
			wait.Answered()
			if now.Run == nil {
				now.Run = last.Run // What was pruned meanwhile has said how it went.
			}
			last = now
			return reached(now)
		})
		if done && err == nil {
			return nil
		}
		if err := wait.Try(ctx, err); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return late(node.Name, last)
			}
			return err
		}
	}
}

// late says where a cleanup was when the time to wait for it was over.
func late(name string, last Cleanup) error {
	where := "no agent has begun it"
	if last.Run != nil {
		where = strings.TrimSuffix("it is "+string(last.Run.State)+": "+last.Run.Message, ": ")
	}
	return &exit.Error{
		Code: exit.TimedOut,
		Err:  fmt.Errorf("waiting for the cleanup of node %s: not done within the time to wait; %s", name, where),
		Next: "It goes on without you; follow it again with a longer --timeout. See what holds it: kubectl nodecleanup diagnose " + name,
	}
}

// Insist asks the API server until it answers, or ctx ends, and returns the answer.
func (f Follower) Insist(ctx context.Context, ask func() error) error {
	wait := patience.Wait{Say: f.Say}
	for {
		err := ask()
		if !api.Unanswered(err) {
			return err
		}
		if err := wait.Try(ctx, err); err != nil {
			return err
		}
	}
}

// round watches first and reads then: what changes in between is an event. Events
// only say that there is something to read.
func (f Follower) round(ctx context.Context, node *corev1.Node, said map[string]string, reached func(Cleanup) (bool, error)) (bool, error) {
	record := api.RunName(node.Name, node.UID)
	nodes, err := f.Client.CoreV1().Nodes().Watch(ctx, named(node.Name))
	if err != nil {
		return false, fmt.Errorf("watching node %s: %w", node.Name, err)
	}
	defer nodes.Stop()
	records, err := f.Client.CoreV1().ConfigMaps(f.Namespace).Watch(ctx, named(record))
	if err != nil {
		return false, fmt.Errorf("watching the run record %s/%s: %w", f.Namespace, record, err)
	}
	defer records.Stop()
	for {
		now, err := f.read(ctx, node, record)
		if err != nil {
			return false, err
		}
		f.tell(now, said)
		if done, err := reached(now); done || err != nil {
			return done, err
		}
		var open bool
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case _, open = <-nodes.ResultChan():
		case _, open = <-records.ResultChan():
		}
		if !open {
			return false, nil
		}
		drain(nodes)
		drain(records)
	}
}

// drain takes what has come already: one reading answers all of it.
func drain(events watch.Interface) {
	for {
		select {
		case _, open := <-events.ResultChan():
			if !open {
				return
			}
		default:
			return
		}
	}
}

func (f Follower) read(ctx context.Context, node *corev1.Node, record string) (Cleanup, error) {
	var now Cleanup
	// The node first: a record that is read after the node is gone says why it went.
	current, err := f.Client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return now, fmt.Errorf("reading node %s: %w", node.Name, err)
	}
	if err == nil && current.UID == node.UID {
		now.Node = current
	}
	configMap, err := f.Client.CoreV1().ConfigMaps(f.Namespace).Get(ctx, record, metav1.GetOptions{})
	if err == nil {
		now.Run, err = api.DecodeRun(configMap)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return now, fmt.Errorf("reading the run record %s/%s: %w", f.Namespace, record, err)
	}
	return now, nil
}

// tell says what has changed since it was said last.
func (f Follower) tell(now Cleanup, said map[string]string) {
	once := func(key, line string) {
		if said[key] != line {
			said[key] = line
			f.Say(line)
		}
	}
	if now.Run != nil {
		for i, step := range now.Run.Steps {
			if line := describe(i, len(now.Run.Steps), step); line != "" {
				once("step/"+step.Name, line)
			}
		}
	}
	if now.Node == nil {
		once("node", "the node is gone")
		return
	}
	if others := api.OtherFinalizers(now.Node); now.Node.DeletionTimestamp != nil && !api.HasFinalizer(now.Node) {
		once("node", "released; still held by the finalizers of others: "+strings.Join(others, ", "))
	}
	if condition := api.Cleanup(now.Node); condition != nil {
		switch state := api.State(condition.Reason); state {
		case api.Running, api.Pending: // The steps tell it.
		default:
			once("state", fmt.Sprintf("%s: %s", state, condition.Message))
		}
	}
}

func describe(at, of int, step api.StepRun) string {
	place := fmt.Sprintf("%d/%d %s: ", at+1, of, step.Name)
	switch step.State {
	case api.StepRunning:
		if step.Progress != "" {
			return place + step.Progress
		}
		return place + "running"
	case api.StepRetrying:
		return fmt.Sprintf("%sattempt %d failed, will retry: %s", place, step.Attempts, step.LastError)
	case api.StepSucceeded:
		return place + "done"
	case api.StepFailed:
		return fmt.Sprintf("%sfailed after %d attempts: %s", place, step.Attempts, step.LastError)
	case api.StepSkipped:
		return place + "skipped: " + step.Reason
	}
	return ""
}

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}
