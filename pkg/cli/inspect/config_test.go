package inspect

import (
	"strings"
	"testing"

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
	valid := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.ConfigName}, Data: map[string]string{
		api.ConfigKey: "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: a, plugin: drain}]\n",
	}}
	for said, want := range map[string]string{
		"line 6: unknown plugin":  "the agent's Pods start again by themselves, or delete them: kubectl -n nodecleanup-system delete pod -l app.kubernetes.io/name=nodecleanup",
		"no route to the address": "kubectl -n nodecleanup-system logs a --previous",
	} {
		s := working(t)
		s.Deployment.Status.ReadyReplicas, s.Leadership, s.Status.ConfigHash, s.Status.ConfigError = 0, cluster.Leadership{}, "a1b2c3", "line 6: unknown plugin"
		s.Stall = &cluster.Stall{Crashed: true, Pod: "a", Text: "pod a: CrashLoopBackOff: exit code 1: " + said}
		if err := s.readConfigFault(t.Context(), fake.NewClientset(valid)); err != nil {
			t.Fatal(err)
		}
		view := Assess(s, "v0.3.1", night)
		if view.Config.Problem != "" || view.Next != want {
			t.Errorf("config %+v, next step %q, want %q", view.Config, view.Next, want)
		}
	}
}
