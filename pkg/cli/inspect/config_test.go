package inspect

import (
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
	invalid := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: api.ConfigName}, Data: map[string]string{api.ConfigKey: "steps: 1"}}
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
			s := &Snapshot{Namespace: "ns", Status: test.status, Stall: &cluster.Stall{Crashed: true, Pod: "a"}}
			if err := s.readConfigFault(t.Context(), fake.NewClientset(test.objects...)); err != nil {
				t.Fatal(err)
			}
			if got := stallRemedy(s, printer.Agent{}); got != test.want {
				t.Errorf("the remedy is %q, want %q", got, test.want)
			}
		})
	}
}
