package operate_test

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// A webhook of another project on Nodes does not answer: it is named, the drain waits, and continues by
// itself when the webhook is deleted.
func TestUnavailableNodeWebhookIsNamed(t *testing.T) {
	f := setUp(t, "retry: {maxRetries: 0}\nsteps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.breakWebhook("nodes.example.com", "nodes", admissionv1.Update)
	const remedy = "ix the service behind admission webhook nodes.example.com"
	f.eventually("the API server calls the webhook", func(context.Context) (bool, error) {
		return f.quietly("retry", "worker").code == exit.Failure, nil
	})
	f.delete("worker")
	f.eventually("the drain says what it waits for", func(context.Context) (bool, error) {
		condition := api.CleanupConditionOf(f.read("worker"))
		return condition != nil && strings.Contains(condition.Message, remedy), nil
	})
	for _, command := range [][]string{{"bypass", "worker", "--reason", "r", "--yes"}, {"retry", "worker"}} {
		ran := f.run(command...).exits(exit.Failure).says("F" + remedy)
		if strings.Contains(ran.errOut, "cannot be reached") {
			t.Errorf("%s blames the API server: %s", command[0], ran.errOut)
		}
	}
	f.dropWebhook("nodes.example.com")
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
}
