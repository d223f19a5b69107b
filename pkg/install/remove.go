package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// agentStops is how long the agent's pods may take to go. They answer requests
// for some seconds after they were told to end; a pod on a dead node never goes.
const agentStops = 45 * time.Second

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
	left := &NodesLeftError{}
	if err := r.releaseNodes(ctx); err != nil && !errors.As(err, &left) {
		return err
	}
	for _, phase := range []phase{phaseData, phaseRights} {
		if err := r.removePhase(ctx, phase, namespace, keepHistory); err != nil {
			return err
		}
	}
	if !keepHistory {
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
		for _, object := range objects {
			if err := r.delete(ctx, object); err != nil {
				return err
			}
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
	r.say("%s deleted", object)
	return nil
}

// stopAgent deletes the Deployment and waits for its pods to end: an agent that
// runs while the finalizers are taken off would add them again.
func (r *Remover) stopAgent(ctx context.Context, namespace string) error {
	if err := r.removePhase(ctx, phaseAgent, namespace, false); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, agentStops)
	defer cancel()
	said := false
	err := await(limited, kindNamed("Pod").client(r.Objects, namespace), metav1.ListOptions{LabelSelector: ourSelector()},
		func(pods map[string]*unstructured.Unstructured) (bool, error) {
			if len(pods) > 0 && !said {
				r.say("waiting for %d pods of the agent to end", len(pods))
				said = true
			}
			return len(pods) == 0, nil
		})
	if limited.Err() != nil && ctx.Err() == nil {
		// Most likely on a node that is dead: then it adds nothing.
		r.say("the agent's pods did not end within %s; going on without them", agentStops)
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for the agent's pods to end: %w", err)
	}
	if leader, err := r.outsideLeader(ctx, namespace); err == nil && leader != "" && !said {
		r.say("WARNING: %s holds the agent's lease and is no pod here: stop it, or it adds the finalizer again", leader)
	}
	return nil
}

// removeNamespace deletes the namespace if install made it, and waits for it to go.
func (r *Remover) removeNamespace(ctx context.Context, namespace string) error {
	namespaces := kindNamed("Namespace").client(r.Objects, "")
	home, err := namespaces.Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	if !ours(home) {
		r.say("namespace %s stays: install did not make it", namespace)
		return nil
	}
	if err := r.delete(ctx, Object{kind: kindNamed("Namespace"), Name: namespace}); err != nil {
		return err
	}
	err = await(ctx, namespaces, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", namespace).String()},
		func(present map[string]*unstructured.Unstructured) (bool, error) {
			return present[namespace] == nil, nil
		})
	if err != nil {
		return fmt.Errorf("waiting for namespace %s to go (everything of %s is gone from the cluster but this): %w", namespace, api.LabelNameValue, err)
	}
	return nil
}

func (r *Remover) say(format string, arguments ...any) {
	if r.Report != nil {
		r.Report(fmt.Sprintf(format, arguments...))
	}
}
