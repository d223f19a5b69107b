// Package follow watches the cleanup of one node and prints a line for each change of its steps.
// The output is the same on a terminal, in a pipe and in the log of a job.
package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Snapshot is the state of one node and its cleanup.
type Snapshot struct {
	// Node is nil when it is deleted.
	Node *corev1.Node
	// Run is nil while there is no record that can be decoded.
	Run *api.Run
	// Undecodable is why the record cannot be decoded.
	Undecodable error
	// NoLeader: no agent is the leader.
	NoLeader bool
}

// Follower follows one node, by its UID.
type Follower struct {
	Client    kubernetes.Interface
	Namespace string
	// Say is given a line for each change.
	Say func(line string)
	// Bar, if set, is given the progress bar of the step that runs, as often as it changes; an
	// empty one if there is none. Say is not given the progress of such a step then.
	Bar func(text string)
	// Now is the API server's time, for Bar.
	Now func() time.Time
	// Agent, if set, observes whether an agent is the leader.
	Agent *Agent
}

// New returns a Follower that reports to the results of a command: progress bars on a
// terminal, and lines elsewhere.
func New(client kubernetes.Interface, namespace string, environment *command.Environment, results *command.Results, agent *Agent, node string) Follower {
	f := Follower{Client: client, Namespace: namespace, Say: func(line string) { results.Progress(node, line) }, Now: environment.ServerTime, Agent: agent}
	if results.Bars() {
		f.Bar = func(text string) { results.Bar(node, text) }
	}
	return f
}

// Until follows the node until reached returns true or an error, or ctx ends. It calls reached
// once at the beginning and after each change. While the API server is unavailable, it waits.
func (f Follower) Until(ctx context.Context, node *corev1.Node, reached func(Snapshot) (bool, error)) error {
	name := api.RunName(node.Name, node.UID)
	nodes := cluster.Nodes(f.Client, named(node.Name))
	records := cluster.ConfigMaps(f.Client, f.Namespace, "run record "+f.Namespace+"/"+name, named(name))
	said := map[string]string{}
	if f.Bar != nil {
		defer f.Bar("")
	}
	var last Snapshot
	err := f.watcher().Until(ctx, func(ctx context.Context) (bool, error) {
		now, err := f.state(ctx, node.UID, nodes.Named(node.Name), name, records.Named(name))
		if err != nil {
			return false, err
		}
		now.NoLeader = f.Agent != nil && f.Agent.Absent()
		f.report(now, said)
		if now.Run == nil {
			now.Run = last.Run // A record that was pruned in the meantime has reported the outcome.
		}
		last = now
		return reached(now)
	}, nodes, records)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return unfinished(node.Name, last, exit.TimedOut, "not completed within --timeout")
	case errors.Is(err, context.Canceled):
		return unfinished(node.Name, last, exit.Interrupted, "interrupted")
	}
	return err
}

func (f Follower) watcher() cluster.Watcher { return cluster.Watcher{Report: f.Say} }

// state combines the watched node and record. The two watches are not synchronized: the deletion
// of the node may arrive before the record that explains it. In that case, state reads the record.
func (f Follower) state(ctx context.Context, uid types.UID, node *corev1.Node, name string, record *corev1.ConfigMap) (Snapshot, error) {
	var now Snapshot
	if node != nil && node.UID == uid {
		now.Node = node
	} else {
		var err error
		record, err = f.Client.CoreV1().ConfigMaps(f.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return now, nil
		}
		if err != nil {
			return now, fmt.Errorf("reading the run record %s/%s: %w", f.Namespace, name, err)
		}
	}
	if record == nil {
		return now, nil
	}
	now.Run, now.Undecodable = api.ReadRunOf(record, uid)
	return now, nil
}

// Retry sends a request until the API server responds, or ctx ends, and returns its error.
func (f Follower) Retry(ctx context.Context, request func(context.Context) error) error {
	return f.watcher().Retry(ctx, request)
}

// report prints the changes since the last report.
func (f Follower) report(now Snapshot, said map[string]string) {
	once := func(key, line string) {
		if said[key] != line {
			said[key] = line
			f.Say(line)
		}
	}
	if now.Run != nil {
		if newer := command.Newer(now.Run); newer != "" {
			once("newer", newer)
		}
		bar := ""
		for i, step := range now.Run.Steps {
			if f.Bar != nil && step.State == api.StepRunning && step.Counts != nil {
				bar = fmt.Sprintf("%d/%d %s %s", i+1, len(now.Run.Steps), step.Name, printer.Bar(*step.Counts, f.Now()))
				bar = strings.TrimSuffix(bar+"; "+step.Progress, "; ")
				continue
			}
			if line := describe(i, len(now.Run.Steps), step); line != "" {
				once("step/"+step.Name, line)
			}
		}
		if f.Bar != nil {
			f.Bar(bar)
		}
	}
	if now.Undecodable != nil && now.Node != nil {
		once("undecodable", command.UndecodableOf(now.Node, now.Undecodable, now.NoLeader).String())
	}
	if now.Node == nil {
		once("node", "the node is deleted")
		return
	}
	if others := api.OtherFinalizers(now.Node); now.Node.DeletionTimestamp != nil && !api.HasFinalizer(now.Node) {
		once("node", "released; other finalizers block the deletion: "+strings.Join(others, ", "))
	}
	if condition := api.CleanupConditionOf(now.Node); condition != nil {
		switch state := api.State(condition.Reason); state {
		case api.Running, api.Pending: // The lines of the steps show it.
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
		return fmt.Sprintf("%sfailed after %s: %s", place, api.Count(step.Attempts, "attempt"), step.LastError)
	case api.StepSkipped:
		return place + "skipped: " + step.Reason
	case api.StepPending:
		return ""
	}
	return place + string(step.State)
}

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}
