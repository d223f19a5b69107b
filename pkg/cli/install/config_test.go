package install

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// A user who can only write the config must not get a way to the agent's own ServiceAccount when an
// administrator upgrades.
func TestConfigOnTheClusterThatRunsPodsInTheNamespaceOfTheAgent(t *testing.T) {
	text := `apiVersion: nodecleanup.io/v1alpha1
kind: Config
jobs: [{namespace: ops, serviceAccounts: [nodecleanup-agent]}]
steps:
- name: x
  plugin: job
  options: {namespace: ops, serviceAccountName: nodecleanup-agent, template: {spec: {containers: [{name: a, image: a}]}}}
`
	client := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: api.ConfigName}, Data: map[string]string{api.ConfigKey: text}})
	var said bytes.Buffer
	o := &Options{
		Environment: &command.Environment{IOStreams: genericiooptions.IOStreams{ErrOut: &said}},
		Catalog:     func() []cleanup.Descriptor { return plugins.All(plugins.Dependencies{}) },
	}
	settings, err := o.checkConfig(t.Context(), client, install.Options{Namespace: "ops"})
	if err != nil || settings != nil {
		t.Errorf("the config is %v, error %v; want one that is not known", settings, err)
	}
	if want := "step x runs Pods in namespace ops, which is that of the agent"; !strings.Contains(said.String(), want) {
		t.Errorf("the warning is %q, want %q in it", said.String(), want)
	}
}

func TestStepRulesOfAnUnknownConfig(t *testing.T) {
	rules := func(resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"get"}}}
	}
	role := func(namespace, resource string) *rbacv1.Role {
		return &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.AgentSteps, Labels: map[string]string{api.LabelName: api.LabelNameValue}},
			Rules:      rules(resource),
		}
	}
	client := fake.NewClientset(
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: api.AgentSteps}, Rules: rules("pods")},
		role("jobs", "events"), role("stranger", "secrets"), role("ops", "secrets"),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "nodecleanup-inventory"}, Data: map[string]string{"objects.json": `[
			{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": "jobs", "name": "nodecleanup-agent-steps"},
			{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": "deleted", "name": "nodecleanup-agent-steps"},
			{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": "ops", "name": "nodecleanup-agent-steps"},
			{"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": "stranger", "name": "nodecleanup-agent"}]`}},
	)
	got, err := stepRules(t.Context(), client, "ops", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string][]rbacv1.PolicyRule{"": rules("pods"), "jobs": rules("events")}; !reflect.DeepEqual(got, want) {
		t.Errorf("the rules are %v, want %v", got, want)
	}
}

// config view --accepted is piped into install --config -.
func TestConfigFromStdin(t *testing.T) {
	const valid = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: drain, plugin: drain}]\n"
	for name, test := range map[string]struct{ text, want string }{
		"valid":   {valid, ""},
		"invalid": {valid + "dryrun: true\n", "dryrun"},
		"empty":   {"", "reading the config: stdin is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Options{
				Environment: &command.Environment{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(test.text)}},
				Catalog:     func() []cleanup.Descriptor { return plugins.All(plugins.Dependencies{}) },
				ConfigFile:  "-",
			}
			err := o.readConfig()
			switch {
			case test.want == "" && (err != nil || string(o.config) != test.text):
				t.Errorf("got the config %q, error %v", o.config, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got the error %v, want %q", err, test.want)
			}
		})
	}
}
