package inspect

import (
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestReach(t *testing.T) {
	own, other := map[string]string{"app": "agent"}, map[string]string{"app": "other"}
	service := func(selector map[string]string, manager string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.Agent, ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:selector":{},"f:ports":{}}}`)},
			}}},
			Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "webhook", Port: 443, TargetPort: intstr.FromString("webhook")}}},
		}
	}
	sends := func(port int32, target intstr.IntOrString, manager string) *corev1.Service {
		service := service(own, manager)
		service.Spec.Ports[0].Port, service.Spec.Ports[0].TargetPort = port, target
		return service
	}
	endpoint := func(ready bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Labels: map[string]string{discoveryv1.LabelServiceName: api.Agent}},
			Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("webhook"), Port: ptr.To[int32](9443)}},
		}
	}
	// at is a ready endpoint with this port.
	at := func(ports ...discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
		slice := endpoint(true)
		slice.Ports = ports
		return slice
	}
	webhook := func(number int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: ptr.To("webhook"), Port: ptr.To(number)}
	}
	const edited = "Service nodecleanup-agent selects no pod of the agent (selector app=other)"
	for name, test := range map[string]struct {
		objects []runtime.Object
		// hidden is the resource that the caller may not read.
		hidden string
		want   *Unreached
	}{
		"ready":              {objects: []runtime.Object{service(own, api.FieldManager), endpoint(true)}},
		"not ready":          {objects: []runtime.Object{service(own, api.FieldManager), endpoint(false)}, want: &Unreached{"Service nodecleanup-agent has no ready endpoint", "kubectl -n ns describe service nodecleanup-agent"}},
		"edited":             {objects: []runtime.Object{service(other, "kubectl-edit")}, want: &Unreached{edited, "kubectl nodecleanup install --force-conflicts --wait"}},
		"of another install": {objects: []runtime.Object{service(other, api.FieldManager)}, want: &Unreached{edited, "kubectl nodecleanup install --wait"}},
		"another target port": {objects: []runtime.Object{sends(443, intstr.FromInt32(1234), "kubectl-patch"), at(webhook(1234))},
			want: &Unreached{"Service nodecleanup-agent sends port 443 to targetPort 1234 of the agent, which listens on port 9443", "kubectl nodecleanup install --force-conflicts --wait"}},
		"a target port of another purpose": {objects: []runtime.Object{sends(443, intstr.FromString("metrics"), api.FieldManager), at(webhook(8080))},
			want: &Unreached{"Service nodecleanup-agent sends port 443 to targetPort metrics of the agent, which listens on port 9443", "kubectl nodecleanup install --wait"}},
		"an unknown target port": {objects: []runtime.Object{sends(443, intstr.FromString("web"), api.FieldManager), at()},
			want: &Unreached{"Service nodecleanup-agent sends port 443 to targetPort web of the agent, which listens on port 9443", "kubectl nodecleanup install --wait"}},
		"another port": {objects: []runtime.Object{sends(8443, intstr.FromString("webhook"), "kubectl-edit"), at(webhook(9443))},
			want: &Unreached{"Service nodecleanup-agent has no port 443, which the webhooks use", "kubectl nodecleanup install --force-conflicts --wait"}},
		"the number as target port":        {objects: []runtime.Object{sends(443, intstr.FromInt32(9443), "kubectl-edit"), at(webhook(9443))}},
		"Pods with the port of before":     {objects: []runtime.Object{service(own, api.FieldManager), at(webhook(10443))}},
		"EndpointSlices are not yet newer": {objects: []runtime.Object{sends(443, intstr.FromInt32(1234), "kubectl-patch"), at(webhook(9443))}},
		"deleted":                          {want: &Unreached{"Service nodecleanup-agent does not exist", "kubectl nodecleanup install --wait"}},
		"no Service to see":                {hidden: "services"},
		"no endpoint to see":               {objects: []runtime.Object{service(other, "kubectl-edit")}, hidden: "endpointslices"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(test.objects...)
			client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				resource := action.GetResource().GroupResource()
				return slices.Contains([]string{test.hidden}, resource.Resource), nil, apierrors.NewForbidden(resource, api.Agent, nil)
			})
			s := &Snapshot{Namespace: "ns", Deployment: &appsv1.Deployment{
				Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: own}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Args: []string{"--webhook-listen=:9443"}, Ports: []corev1.ContainerPort{{Name: "webhook", ContainerPort: 9443}, {Name: "metrics", ContainerPort: 8080}},
				}}}}},
				Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
			}, Webhook: &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{
				Name: api.WebhookHook, ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Name: api.Agent}},
			}}}}
			if err := s.readReach(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if got := s.Unreached; (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
