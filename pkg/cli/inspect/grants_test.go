package inspect

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestMissingGrants(t *testing.T) {
	to := func(namespace string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: api.Agent, Namespace: namespace}}
	}
	own, everywhere := metav1.ObjectMeta{Name: api.Agent, Namespace: "ns"}, metav1.ObjectMeta{Name: api.Agent}
	clusterRole, role := &rbacv1.ClusterRole{ObjectMeta: everywhere}, &rbacv1.Role{ObjectMeta: own}
	clusterBinding, binding := &rbacv1.ClusterRoleBinding{ObjectMeta: everywhere, Subjects: to("ns")}, &rbacv1.RoleBinding{ObjectMeta: own, Subjects: to("ns")}
	elsewhere := clusterBinding.DeepCopy()
	elsewhere.Subjects = to("other")
	steps := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: api.AgentSteps}}
	stepsBinding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: api.AgentSteps}, Subjects: to("ns"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: api.AgentSteps}}
	for name, test := range map[string]struct {
		objects []runtime.Object
		// hidden are the resources that the caller may not read.
		hidden []string
		// lacks: a step lacks rights.
		lacks bool
		want  []string
	}{
		"complete":                        {objects: []runtime.Object{clusterRole, clusterBinding, role, binding}},
		"complete with steps":             {objects: []runtime.Object{clusterRole, clusterBinding, role, binding, steps, stepsBinding}},
		"no ClusterRoleBinding":           {objects: []runtime.Object{clusterRole, role, binding}, want: []string{"ClusterRoleBinding nodecleanup-agent does not exist"}},
		"no ClusterRole":                  {objects: []runtime.Object{clusterBinding, role, binding}, want: []string{"ClusterRole nodecleanup-agent does not exist"}},
		"no RoleBinding":                  {objects: []runtime.Object{clusterRole, clusterBinding, role}, want: []string{"RoleBinding ns/nodecleanup-agent does not exist"}},
		"no Role":                         {objects: []runtime.Object{clusterRole, clusterBinding, binding}, want: []string{"Role ns/nodecleanup-agent does not exist"}},
		"no binding of the steps":         {objects: []runtime.Object{clusterRole, clusterBinding, role, binding, steps}, want: []string{"ClusterRoleBinding nodecleanup-agent-steps does not exist"}},
		"no role of the steps":            {objects: []runtime.Object{clusterRole, clusterBinding, role, binding}, lacks: true, want: []string{"ClusterRole nodecleanup-agent-steps does not exist"}},
		"binding of the steps, no role":   {objects: []runtime.Object{clusterRole, clusterBinding, role, binding, stepsBinding}, want: []string{"ClusterRole nodecleanup-agent-steps does not exist"}},
		"rights of steps in another role": {objects: []runtime.Object{clusterRole, clusterBinding, role, binding}},
		"bound to another account":        {objects: []runtime.Object{clusterRole, elsewhere, role, binding}, want: []string{"ClusterRoleBinding nodecleanup-agent does not name service account ns/nodecleanup-agent"}},
		"the rights of a viewer":          {objects: []runtime.Object{clusterBinding}, hidden: []string{"clusterroles", "roles", "rolebindings"}},
		"the rights of a viewer, fault":   {hidden: []string{"clusterroles", "roles", "rolebindings"}, want: []string{"ClusterRoleBinding nodecleanup-agent does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(test.objects...)
			client.PrependReactor("get", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				resource := action.GetResource().GroupResource()
				return slices.Contains(test.hidden, resource.Resource), nil, apierrors.NewForbidden(resource, api.Agent, nil)
			})
			got, err := MissingGrants(t.Context(), client, "ns", test.lacks)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %s, want %s; error %v", strings.Join(got, ", "), strings.Join(test.want, ", "), err)
			}
		})
	}
}
