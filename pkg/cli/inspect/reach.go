package inspect

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Unreached is why the API server reaches no agent although one is ready.
type Unreached struct {
	Problem string
	// Remedy is the command that repairs it.
	Remedy string
}

// readReach finds out whether the Service of the webhooks has a ready endpoint. If the caller may not
// read that, it counts as reached.
func (s *Snapshot) readReach(ctx context.Context, client kubernetes.Interface) error {
	if s.Deployment == nil || s.Deployment.Status.ReadyReplicas == 0 {
		return nil // Then no agent answers anyway.
	}
	const name = "Service " + api.Agent
	service, err := client.CoreV1().Services(s.Namespace).Get(ctx, api.Agent, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.Unreached = &Unreached{name + " does not exist", repair(s.Deployment, "")}
		return nil
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading service %s/%s: %w", s.Namespace, api.Agent, err)
	}
	endpoints, err := client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{discoveryv1.LabelServiceName: api.Agent}.String()})
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("listing the endpoints of service %s/%s: %w", s.Namespace, api.Agent, err)
	}
	ready := func(endpoint discoveryv1.Endpoint) bool {
		return endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
	}
	if slices.ContainsFunc(endpoints.Items, func(slice discoveryv1.EndpointSlice) bool { return slices.ContainsFunc(slice.Endpoints, ready) }) {
		return nil
	}
	if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(s.Deployment.Spec.Template.Labels)) {
		s.Unreached = &Unreached{name + " has no ready endpoint", fmt.Sprintf("kubectl -n %s describe service %s", s.Namespace, api.Agent)}
		return nil
	}
	s.Unreached = &Unreached{fmt.Sprintf("%s selects no pod of the agent (selector %s)", name, labels.Set(service.Spec.Selector)), repair(service, "selector")}
	return nil
}

// repair returns the command that restores an object of the install. If another client owns the field of
// its spec, an install without --force-conflicts is refused.
func repair(object metav1.Object, field string) string {
	agent := printer.Agent{HelmUpgrade: install.HelmUpgrade(object)}
	if slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager != api.FieldManager && api.WroteSpec(entry, field)
	}) {
		return Reinstall(agent, "--force-conflicts")
	}
	return Reinstall(agent)
}

// assessAnswer marks the webhooks that no agent answers. With the policy inside the API server, new nodes
// are protected all the same.
func assessAnswer(view *printer.Status, s *Snapshot) {
	why, remedy := "", ""
	switch agent := view.Agent; {
	case agent.Health == printer.Missing, s.Deployment != nil && agent.Ready == 0, agent.Outside && !agent.HasLeader:
		// The agent's own problem and remedy say why.
	case s.Unreached != nil:
		why, remedy = ": "+s.Unreached.Problem, s.Unreached.Remedy
	default:
		return
	}
	if admission := &view.Admission; slices.Contains(admission.Ways, "webhook") {
		admission.NoAnswer, admission.Remedy = "no agent answers the webhook"+why, remedy
		switch {
		case admission.Health == printer.Healthy && slices.Contains(admission.Ways, "policy"):
			admission.Health = printer.Degraded
		case admission.Health == printer.Healthy:
			admission.Health = printer.Broken
		}
	}
	if guard := &view.Guard; works(guard.Health) {
		follows := unguarded
		if guard.FailurePolicy == string(admissionv1.Fail) {
			follows = "every deletion of a node is refused"
		}
		guard.Health, guard.NoAnswer, guard.Remedy = printer.Broken, "no agent answers, so "+follows+why, remedy
	}
}
