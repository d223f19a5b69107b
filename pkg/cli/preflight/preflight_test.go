package preflight

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// An install grants what the plugins of the released agent need, and restores its own roles. It does not know
// the rights of other plugins.
func TestRepairOfMissingRights(t *testing.T) {
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: api.Agent, Namespace: "ns"}}
	own, everywhere := metav1.ObjectMeta{Name: api.Agent, Namespace: "ns"}, metav1.ObjectMeta{Name: api.Agent}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: everywhere, Subjects: subjects}
	install := []runtime.Object{
		&appsv1.Deployment{ObjectMeta: own, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": api.Agent}}}}, &rbacv1.Role{ObjectMeta: own}, &rbacv1.RoleBinding{ObjectMeta: own, Subjects: subjects}, &rbacv1.ClusterRole{ObjectMeta: everywhere},
	}
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"delete"}}}
	for name, test := range map[string]struct {
		objects       []runtime.Object
		plugin        string
		rules         []rbacv1.PolicyRule
		lacks, remedy string
		manifest      bool
	}{
		"nothing":                {append(install, binding), "drain", nil, "", "", false},
		"an option":              {append(install, binding), "drain", rules, "", "kubectl nodecleanup install --wait", true},
		"of a custom agent":      {append(install, binding), "paging", rules, "", "", true},
		"a binding":              {install, "drain", rules, "the agent lacks rights: ClusterRoleBinding nodecleanup-agent does not exist", "kubectl nodecleanup install --wait", false},
		"a binding, not noticed": {install, "drain", nil, "the agent lacks rights: ClusterRoleBinding nodecleanup-agent does not exist", "kubectl nodecleanup install --wait", false},
	} {
		t.Run(name, func(t *testing.T) {
			status := &api.AgentStatus{Plugins: []api.PluginHealth{{Step: "one", Plugin: test.plugin, MissingRules: test.rules}}}
			view := View(status, "ns", time.Now(), func(api.PluginHealth) bool { return true }, func(api.NotificationHealth) bool { return true })
			if err := AddRepair(t.Context(), fake.NewClientset(test.objects...), "ns", time.Now, view); err != nil {
				t.Fatal(err)
			}
			if view.Lacks != test.lacks || view.Remedy != test.remedy || view.Manifest != "" != test.manifest {
				t.Errorf("got %q, %q, manifest %q", view.Lacks, view.Remedy, view.Manifest)
			}
		})
	}
}
