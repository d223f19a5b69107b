package inspect

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
				Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:selector":{}}}`)},
			}}},
			Spec: corev1.ServiceSpec{Selector: selector},
		}
	}
	endpoint := func(ready bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Labels: map[string]string{discoveryv1.LabelServiceName: api.Agent}},
			Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}}},
		}
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
		"deleted":            {want: &Unreached{"Service nodecleanup-agent does not exist", "kubectl nodecleanup install --wait"}},
		"no Service to see":  {hidden: "services"},
		"no endpoint to see": {objects: []runtime.Object{service(other, "kubectl-edit")}, hidden: "endpointslices"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(test.objects...)
			client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				resource := action.GetResource().GroupResource()
				return slices.Contains([]string{test.hidden}, resource.Resource), nil, apierrors.NewForbidden(resource, api.Agent, nil)
			})
			s := &Snapshot{Namespace: "ns", Deployment: &appsv1.Deployment{
				Spec:   appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: own}}},
				Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
			}}
			if err := s.readReach(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if got := s.Unreached; (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
