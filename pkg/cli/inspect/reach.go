package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Unreached is why the API server reaches no agent although one is ready.
type Unreached struct {
	Problem string
	// Remedy is the command that repairs it.
	Remedy string
}

// readReach finds out whether the Service of the webhooks has a ready endpoint, and whether its ports lead
// to the port on which the agent listens. If the caller may not read that, it counts as reached.
func (s *Snapshot) readReach(ctx context.Context, client kubernetes.Interface) error {
	if s.Deployment == nil || s.Deployment.Status.ReadyReplicas == 0 {
		return nil // Then no agent answers anyway.
	}
	const name = "Service " + api.Agent
	service, err := client.CoreV1().Services(s.Namespace).Get(ctx, api.Agent, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.Unreached = &Unreached{name + " does not exist", restore(s.Deployment, "")}
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
	unready := func(slice discoveryv1.EndpointSlice) bool {
		return !slices.ContainsFunc(slice.Endpoints, func(endpoint discoveryv1.Endpoint) bool {
			return endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
		})
	}
	if answering := slices.DeleteFunc(endpoints.Items, unready); len(answering) > 0 {
		if fault := s.portFault(service, answering); fault != "" {
			s.Unreached = &Unreached{name + " " + fault, restore(service, "ports")}
		}
		return nil
	}
	if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(s.Deployment.Spec.Template.Labels)) {
		s.Unreached = &Unreached{name + " has no ready endpoint", fmt.Sprintf("kubectl -n %s describe service %s", s.Namespace, api.Agent)}
		return nil
	}
	s.Unreached = &Unreached{fmt.Sprintf("%s selects no pod of the agent (selector %s)", name, labels.Set(service.Spec.Selector)), restore(service, "selector")}
	return nil
}

// portFault returns why the ports of the Service do not lead to the agent's webhooks, empty if they do. The
// EndpointSlices have a ready endpoint each. Each names a port as the Service does, and has its number in
// the Pods: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
func (s *Snapshot) portFault(service *corev1.Service, endpoints []discoveryv1.EndpointSlice) string {
	listens := listenPort(s.Deployment)
	for _, called := range s.calledPorts() {
		at := slices.IndexFunc(service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Port == called })
		if at < 0 {
			return fmt.Sprintf("has no port %d, which the webhooks use", called)
		}
		port := service.Spec.Ports[at]
		if target, known := targetOf(port, s.Deployment); known && target == listens {
			continue
		}
		if !slices.ContainsFunc(endpoints, func(slice discoveryv1.EndpointSlice) bool {
			return slices.ContainsFunc(slice.Ports, func(to discoveryv1.EndpointPort) bool {
				return ptr.Deref(to.Name, "") == port.Name && ptr.Deref(to.Port, listens) == listens
			})
		}) {
			return fmt.Sprintf("sends port %d to targetPort %s of the agent, which listens on port %d", called, port.TargetPort.String(), listens)
		}
	}
	return ""
}

// calledPorts returns the ports of the Service that the webhooks use, none for an agent with a URL.
func (s *Snapshot) calledPorts() []int32 {
	var clients []admissionv1.WebhookClientConfig
	if hook := cluster.MutatingHook(s.Webhook); hook != nil {
		clients = append(clients, hook.ClientConfig)
	}
	if hook := cluster.GuardHook(s.Guard); hook != nil {
		clients = append(clients, hook.ClientConfig)
	}
	var ports []int32
	for _, client := range clients {
		if client.Service != nil {
			ports = append(ports, ptr.Deref(client.Service.Port, 443)) // The API server's default.
		}
	}
	return ports
}

// targetOf returns the number to which a port of the Service leads in the Deployment's Pods, and false if
// none of their ports has its name.
func targetOf(port corev1.ServicePort, deployment *appsv1.Deployment) (int32, bool) {
	switch {
	case port.TargetPort.Type == intstr.String:
		return containerPort(deployment, port.TargetPort.StrVal)
	case port.TargetPort.IntVal == 0: // Unset: the API server's default is the Service's port.
		return port.Port, true
	}
	return port.TargetPort.IntVal, true
}

// listenPort returns the port on which the agent serves its webhooks, as its Deployment says.
func listenPort(deployment *appsv1.Deployment) int32 {
	for _, container := range deployment.Spec.Template.Spec.Containers {
		for _, argument := range container.Args {
			if address, found := strings.CutPrefix(argument, "--webhook-listen="); found {
				if number, err := strconv.ParseInt(address[strings.LastIndex(address, ":")+1:], 10, 32); err == nil {
					return int32(number)
				}
			}
		}
	}
	if number, found := containerPort(deployment, "webhook"); found {
		return number
	}
	return api.WebhookPort
}

func containerPort(deployment *appsv1.Deployment, name string) (int32, bool) {
	for _, container := range deployment.Spec.Template.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

// restore returns the command that restores an object of the install. If another client owns the field of
// its spec, an install without --force-conflicts is refused.
func restore(object metav1.Object, field string) string {
	agent := printer.Agent{HelmUpgrade: install.HelmUpgrade(object)}
	if slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager != api.FieldManager && api.WroteSpec(entry, field)
	}) {
		return Reinstall(agent, "--force-conflicts")
	}
	return Reinstall(agent)
}

// Unguarded is what follows if no agent answers the delete guard.
func Unguarded(failurePolicy string) string {
	if failurePolicy == string(admissionv1.Fail) {
		return "every deletion of a node is refused"
	}
	return unguarded
}

// Blind is what follows for the delete guard if the agent may not read Nodes. The agent still answers, so the
// failurePolicy of the webhook does not count: it evaluates the Node in the admission review.
const Blind = "the agent lacks rights to read a node that is deleted, so it denies only the deletion of nodes with the annotation " + api.AnnotationProtect +
	", and what guard.controlPlane refuses (with guard.onReadError: refuse, it denies every deletion)"

// partlyBlind is what follows for the delete guard if the agent may read Nodes, but not the ConfigMap in which its
// replicas count deletions.
const partlyBlind = "the agent lacks rights for configmap " + api.GuardName + ", which lastSchedulable and maxTerminating need; the guard evaluates the other rules"

// assessAnswer marks the webhooks that no agent answers. With the policy inside the API server, new nodes
// are protected all the same.
func assessAnswer(view *printer.Status, s *Snapshot) {
	guard := &view.Guard
	follows := Unguarded(guard.FailurePolicy)
	why, remedy := "", ""
	switch agent := view.Agent; {
	case agent.Health == printer.Missing, s.Deployment != nil && agent.Ready == 0, agent.Outside && !agent.HasLeader:
		// The agent's own problem and remedy say why.
	case s.Unreached != nil:
		why, remedy = ": "+s.Unreached.Problem, s.Unreached.Remedy
	case cannotReadNodes(s.MissingGrants) && works(guard.Health):
		guard.Health, guard.NoAnswer = printer.Broken, Blind
		return
	case LacksOwnRights(s.MissingGrants) && works(guard.Health):
		guard.Health, guard.Problem = printer.Degraded, partlyBlind
		return
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
	if works(guard.Health) {
		guard.Health, guard.NoAnswer, guard.Remedy = printer.Broken, "no agent answers, so "+follows+why, remedy
	}
}
