package inspect

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Nobody can edit a config that does not exist.
func TestRepairOfTheConfigThatCrashesTheAgent(t *testing.T) {
	invalid := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}, Data: map[string]string{api.ConfigKey: "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nfoo: 1\nbar: 2\n"}}
	for name, test := range map[string]struct {
		objects []runtime.Object
		status  *api.AgentStatus
		want    string
	}{
		"deleted":            {nil, &api.AgentStatus{AcceptedConfig: "steps: []"}, "kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -"},
		"deleted, not known": {nil, nil, "kubectl nodecleanup install --config FILE (without --config, the default steps are installed)"},
		"without its key":    {[]runtime.Object{&corev1.ConfigMap{ObjectMeta: invalid.ObjectMeta}}, &api.AgentStatus{AcceptedConfig: "steps: []"}, "kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -"},
		"invalid":            {[]runtime.Object{invalid}, nil, "kubectl nodecleanup config edit"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Snapshot{Namespace: "ns", Status: test.status, Stall: &cluster.Stall{Crashed: true, Pod: "a", Text: "pod a: CrashLoopBackOff: exit code 1: line 4: unknown field \"bar\""}}
			if err := s.readConfigFault(t.Context(), fake.NewClientset(test.objects...)); err != nil {
				t.Fatal(err)
			}
			if got := stallRemedy(s, printer.Agent{}); got != test.want {
				t.Errorf("the remedy is %q, want %q", got, test.want)
			}
			const named = `pod a: CrashLoopBackOff: the config in configmap ns/nodecleanup-config is invalid: line 1: steps: at least one step is required: without steps, each node would be released at once; line 3: unknown field "foo"; line 4: unknown field "bar"`
			if got := strings.HasPrefix(s.Stall.Text, named); got != (name == "invalid") {
				t.Errorf("the stall is %q", s.Stall.Text)
			}
		})
	}
}

func TestRepairedConfigIsNotCalledRejected(t *testing.T) {
	for name, test := range map[string]struct {
		// changed is when the config was changed, relative to the crash.
		changed  time.Duration
		repaired bool
	}{
		"changed after the crash":  {time.Minute, true},
		"changed before the crash": {-time.Minute, false}, // Such as by an agent whose plugins are others than those of this CLI.
		"changed with it":          {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			at := metav1.NewTime(night.Add(test.changed))
			valid := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.ConfigName, ManagedFields: []metav1.ManagedFieldsEntry{
					{Manager: "kubectl-edit", Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:config.yaml":{}}}`)}},
				}},
				Data: map[string]string{api.ConfigKey: "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: a, plugin: drain}]\n"},
			}
			client := fake.NewClientset()
			if err := client.Tracker().Add(valid); err != nil {
				t.Fatal(err)
			}
			s := working(t)
			s.Deployment.Status.ReadyReplicas, s.Leadership, s.Status.ConfigHash, s.Status.ConfigError = 0, cluster.Leadership{}, "a1b2c3", "line 6: unknown plugin"
			s.Stall = &cluster.Stall{Crashed: true, Pod: "a", EndedAt: night, Text: "pod a: CrashLoopBackOff: exit code 1: line 6: unknown plugin"}
			if err := s.readConfigFault(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			view := Assess(s, "v0.3.1", night)
			if repaired := view.Config.Problem == "" && strings.Contains(view.Agent.Problem, "the config is valid now") && strings.Contains(view.Next, "start again by themselves"); repaired != test.repaired {
				t.Errorf("config %+v, agent %q, next step %q", view.Config, view.Agent.Problem, view.Next)
			}
			if crash := strings.Contains(view.Agent.Problem, "unknown plugin"); crash == test.repaired {
				t.Errorf("the agent's problem is %q", view.Agent.Problem)
			}
		})
	}
}

func TestRepairOfARejectedConfig(t *testing.T) {
	for problem, want := range map[string]string{
		"line 6: unknown plugin":                                "kubectl nodecleanup config edit",
		"configmap ns/nodecleanup-config " + api.ConfigHasNoKey: "kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -",
	} {
		if got := assessConfig(&api.AgentStatus{AcceptedConfig: "steps: []", ConfigError: problem}).Remedy; got != want {
			t.Errorf("%s: %q, want %q", problem, got, want)
		}
	}
}
