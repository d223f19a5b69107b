package follow

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func newer() *api.Run {
	return &api.Run{Node: "n", NodeUID: "u", State: "Verifying", Message: "looking again", Steps: []api.StepRun{
		{Name: "bmc", Plugin: "redfish", State: "PoweringOff"}, {Name: "tell", State: api.StepPending},
	}}
}

func TestStatesOfANewerVersionArePrinted(t *testing.T) {
	var lines []string
	follower := Follower{Say: func(line string) { lines = append(lines, line) }}
	now, said := Snapshot{Node: node(true, api.Finalizer), Run: newer()}, map[string]string{}
	now.Node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition("Verifying", "looking again", metav1.Now())}
	for range 2 {
		follower.report(now, said)
	}
	want := []string{
		"a newer version wrote run record run-n-u: this CLI does not know state Verifying, state PoweringOff of step bmc; upgrade it",
		"1/2 bmc: PoweringOff", "Verifying: looking again",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

// An unknown state is not an outcome: the client must not conclude that another client removed the
// finalizer.
func TestUnknownStateIsNotAnOutcome(t *testing.T) {
	answered := func(*api.Run) bool { return true }
	if done, err := Settled(Snapshot{Node: node(true, api.Finalizer), Run: newer()}, "n", answered); done || err != nil {
		t.Errorf("while the node is there: %v, %v", done, err)
	}
	done, err := Settled(Snapshot{Run: newer()}, "n", answered)
	var lines *exit.Error
	if !done || !errors.As(err, &lines) || lines.Code != exit.Failure {
		t.Fatalf("when it is deleted: %v, %v", done, err)
	}
	if !strings.Contains(err.Error(), "was completed: a newer version wrote run record run-n-u") || strings.Contains(err.Error(), "finalizer") || !strings.Contains(lines.Next, "Upgrade the CLI") {
		t.Errorf("%v; next: %s", err, lines.Next)
	}
	finished := newer()
	finished.State = api.Succeeded // Its steps may be in any state.
	if done, err := Settled(Snapshot{Run: finished}, "n", answered); !done || err != nil {
		t.Errorf("when it has succeeded: %v, %v", done, err)
	}
}
