package inspect

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestRegrant(t *testing.T) {
	owned := func(manager, fields string, labels map[string]string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: api.Agent, Labels: labels, Annotations: map[string]string{
			"meta.helm.sh/release-name": "cleaner", "meta.helm.sh/release-namespace": "ops",
		}, ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
		}}}}
	}
	outside := printer.Agent{Outside: true, URL: "https://127.0.0.1:9443"}
	for name, test := range map[string]struct {
		role  *rbacv1.ClusterRole
		agent printer.Agent
		want  string
	}{
		"as installed":              {owned(api.FieldManager, `{"f:rules":{}}`, nil), printer.Agent{}, "kubectl nodecleanup install --wait"},
		"deleted":                   {nil, printer.Agent{}, "kubectl nodecleanup install --wait"},
		"edited":                    {owned("kubectl-edit", `{"f:rules":{}}`, nil), printer.Agent{}, "kubectl nodecleanup install --force-conflicts --wait"},
		"labeled":                   {owned("kubectl-label", `{"f:metadata":{"f:labels":{}}}`, nil), printer.Agent{}, "kubectl nodecleanup install --wait"},
		"Helm's":                    {owned("helm", `{"f:rules":{}}`, map[string]string{"app.kubernetes.io/managed-by": "Helm"}), printer.Agent{}, "helm upgrade cleaner CHART -n ops --reuse-values --wait"},
		"agent outside":             {owned(api.FieldManager, `{"f:rules":{}}`, nil), outside, "kubectl nodecleanup install --agent-url https://127.0.0.1:9443"},
		"edited, agent outside":     {owned("kubectl-edit", `{"f:rules":{}}`, nil), outside, "kubectl nodecleanup install --agent-url https://127.0.0.1:9443 --force-conflicts"},
		"agent outside, no webhook": {nil, printer.Agent{Outside: true}, "kubectl nodecleanup install --agent-url https://ADDRESS:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			if test.role != nil {
				client = fake.NewClientset(test.role)
			}
			if got := Regrant(t.Context(), client, "ns", test.agent); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// An edited Role in a namespace of Jobs needs --force-conflicts, but only if an install has made it.
func TestRegrantInANamespaceOfJobs(t *testing.T) {
	inventory := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "nodecleanup-inventory"}, Data: map[string]string{
		"objects.json": `[{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": "jobs", "name": "nodecleanup-agent-steps"}]`,
	}}
	for namespace, want := range map[string]string{
		"jobs":     "kubectl nodecleanup install --force-conflicts --wait",
		"stranger": "kubectl nodecleanup install --wait",
	} {
		edited := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.AgentSteps, ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:rules":{}}`)},
		}}}}
		if got := Regrant(t.Context(), fake.NewClientset(inventory, edited), "ns", printer.Agent{}); got != want {
			t.Errorf("%s: got %q, want %q", namespace, got, want)
		}
	}
}

// A binding that another client has changed needs --force-conflicts in the next step of status, too.
func TestNextRestoresAChangedBinding(t *testing.T) {
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: api.AgentSteps, ManagedFields: []metav1.ManagedFieldsEntry{{
		Manager: "kubectl-replace", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:subjects":{}}`)},
	}}}}
	s := working(t)
	if err := s.readGrants(t.Context(), fake.NewClientset(binding)); err != nil {
		t.Fatal(err)
	}
	const want = "kubectl nodecleanup install --force-conflicts --wait"
	if got := Assess(s, "v0.3.1", night).Next; got != want {
		t.Errorf("the next step is %q, want %q", got, want)
	}
}
