package inspect

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The agent writes the run record first and the condition a moment later.
func TestCleanupShowsTheRecordThatTheConditionFollows(t *testing.T) {
	for _, test := range []struct {
		condition, record api.State
		want              string
		stuck             bool
	}{
		{api.Running, api.Running, "Running", false},
		{api.Running, api.Failed, "Failed", true},
		{api.Running, api.Waiting, "Waiting", false},
		{api.Blocked, api.Running, "Blocked", true},
		{api.Failed, api.Running, "Failed", true},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", Finalizers: []string{api.Finalizer}}}
		node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(test.condition, "c", metav1.Now())}
		row := Cleanup(node, &api.Run{State: test.record, Message: "r"}, nil)
		if row.State != test.want || row.Stuck != test.stuck {
			t.Errorf("condition %s, record %s: %s, stuck %v", test.condition, test.record, row.State, row.Stuck)
		}
	}
}
