package operate_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestDrainConditionsAreSetOnTheNode(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]")
	stop := f.start()
	f.node("worker", nil)
	f.node("elsewhere", nil)
	f.pod("web", "worker", app("web"))
	f.budget("web", 1)
	f.run("cleanup", "worker", "--yes", "--even-if-blocked").exits(exit.OK)
	f.awaitDrain("worker", "DrainInProgress=True")
	f.pod("web-too", "elsewhere", app("web"))
	f.awaitState("worker", api.Succeeded)
	f.awaitDrain("worker", "DrainInProgress=False Drained=True")

	f.patch("worker", `{"spec":{"unschedulable":null}}`)
	f.awaitState("worker", api.Canceled)
	f.awaitDrain("worker", "DrainInProgress=False Drained=False")

	// The agent must not change the drain conditions of other clients.
	theirs := `{"status":{"conditions":[{"type":"DrainInProgress","status":"True","reason":"Autoscaler"}]}}`
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), "elsewhere", types.StrategicMergePatchType, []byte(theirs), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	f.dropBudget("web")
	f.run("cleanup", "elsewhere", "--yes", "--wait").exits(exit.OK)
	f.awaitDrain("elsewhere", "DrainInProgress=True Drained=True")

	stop()
	f.run("uninstall", "--yes").exits(exit.OK)
	f.awaitDrain("worker", "")
	f.awaitDrain("elsewhere", "DrainInProgress=True")
}

// awaitDrain waits until the drain conditions of the node match.
func (f *fixture) awaitDrain(name, want string) {
	f.Helper()
	var last string
	defer func() {
		if f.Failed() {
			f.Logf("it says %q", last)
		}
	}()
	f.eventually(fmt.Sprintf("node %s says %q", name, want), func(context.Context) (bool, error) {
		said := map[corev1.NodeConditionType]string{}
		for _, condition := range f.read(name).Status.Conditions {
			said[condition.Type] = fmt.Sprintf("%s=%s", condition.Type, condition.Status)
		}
		last = said[corev1.NodeDrainInProgress]
		if drained := said[corev1.NodeDrained]; drained != "" {
			last += " " + drained
		}
		return last == want, nil
	})
}
