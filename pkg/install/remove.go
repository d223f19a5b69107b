package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// AgentStops is enough for the agent's pods to end in good order: they answer
// admission for some seconds after SIGTERM, within the usual 30.
const AgentStops = 45 * time.Second

// Remove takes the install in a namespace off the cluster: admission, agent,
// marks on nodes, data, rights, namespace. Each part is done before the
// next begins; after an error it can be called again. With keepHistory the run
// records and their namespace stay. The context limits the whole.
//
// Nodes that refuse the change do not stop it; they are named in a
// NodesLeftError when everything else is done.
func (r *Remover) Remove(ctx context.Context, namespace string, keepHistory bool) error {
	if err := r.removePhase(ctx, phaseAdmission, namespace, keepHistory); err != nil {
		return err
	}
	if err := r.stopAgent(ctx, namespace); err != nil {
		return err
	}
	if err := r.awaitUnprotected(ctx); err != nil {
		return err
	}
	left := &NodesLeftError{}
	if err := r.releaseNodes(ctx); err != nil && (!errors.As(err, &left) || left.Again) {
		return err
	}
	for _, phase := range []phase{phaseData, phaseRights} {
		if err := r.removePhase(ctx, phase, namespace, keepHistory); err != nil {
			return err
		}
	}
	if !keepHistory && !r.KeepNamespace {
		if err := r.removeNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	if len(left.Nodes) > 0 {
		return left
	}
	return nil
}

func (r *Remover) removePhase(ctx context.Context, phase phase, namespace string, keepHistory bool) error {
	for _, kind := range kinds() {
		if kind.removed != phase {
			continue
		}
		objects, err := r.find(ctx, kind, namespace, keepHistory)
		if err != nil {
			return err
		}
		records := 0
		for _, object := range objects {
			if err := r.delete(ctx, object); err != nil {
				return err
			}
			if object.Record {
				records++
			}
		}
		if records > 0 {
			r.say("run records deleted: %d", records)
		}
	}
	return nil
}

func (r *Remover) delete(ctx context.Context, object Object) error {
	background := metav1.DeletePropagationBackground
	err := object.client(r.Objects, object.Namespace).Delete(ctx, object.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", object, err)
	}
	if !object.Record {
		r.say("%s deleted", object)
	}
	return nil
}

// stopAgent deletes the Deployment and waits for its Pods to end: a running agent would add the
// finalizers again.
func (r *Remover) stopAgent(ctx context.Context, namespace string) error {
	if err := r.removePhase(ctx, phaseAgent, namespace, false); err != nil {
		return err
	}
	err := r.awaitPods(ctx, namespace)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		r.say("the agent's pods did not end within %s, so they are deleted by force", r.AgentStops)
		err = r.forcePods(ctx, namespace)
	}
	if err != nil {
		return fmt.Errorf("stopping the agent: %w", err)
	}
	return nil
}

func (r *Remover) awaitPods(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, r.AgentStops)
	defer cancel()
	pods := cluster.Dynamic(kindNamed("Pod").client(r.Objects, namespace), "the agent's pods", metav1.ListOptions{LabelSelector: ourSelector()})
	said := false
	return cluster.Watcher{Report: r.Report}.Until(ctx, func(context.Context) (bool, error) {
		remaining := len(pods.All())
		if remaining > 0 && !said {
			r.say("waiting for the agent's pods to end: %d", remaining)
			said = true
		}
		return remaining == 0, nil
	}, pods)
}

// forcePods force-deletes the agent's Pods on nodes whose kubelet does not respond, because they
// block the deletion of the namespace. A Pod that still runs has no access: its token is bound to
// the Pod.
func (r *Remover) forcePods(ctx context.Context, namespace string) error {
	pods := kindNamed("Pod").client(r.Objects, namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if err != nil {
		return fmt.Errorf("listing its pods: %w", err)
	}
	for _, pod := range list.Items {
		options := metav1.NewPreconditionDeleteOptions(string(pod.GetUID()))
		options.GracePeriodSeconds = new(int64)
		if err := pods.Delete(ctx, pod.GetName(), *options); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting pod %s by force: %w", pod.GetName(), err)
		}
	}
	return nil
}

func (r *Remover) say(format string, arguments ...any) {
	if r.Report != nil {
		r.Report(fmt.Sprintf(format, arguments...))
	}
}
