package retry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestNoStepRunsWithoutALeader(t *testing.T) {
	for _, test := range []struct {
		state          api.State
		noLeader, want bool
	}{
		{api.Running, false, true}, {api.Running, true, false}, {api.Waiting, false, false}, {"", false, false},
	} {
		node := &corev1.Node{}
		if test.state != "" {
			node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(test.state, "m", metav1.Now())}
		}
		if got := stepRuns(node, test.noLeader); got != test.want {
			t.Errorf("state %q, no leader %v: a step runs: %v", test.state, test.noLeader, got)
		}
	}
}
