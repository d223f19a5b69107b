package agent_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// No condition of such a Node can be written, so only an Event can name the cause: while the
// steps run, not when they are done.
func TestNodeWithInvalidUpdatesIsReported(t *testing.T) {
	f := setUp(t, "steps:\n- {name: storage, plugin: probe}\n")
	gate := newGate()
	f.probes[""] = gate.pass
	f.start(f.options())
	invalid := cluster.MakeNode("invalid", nil)
	invalid.Finalizers = []string{api.Finalizer}
	address := corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}
	invalid.Status.Addresses = []corev1.NodeAddress{address, address}
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), invalid, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.delete(node)
	<-gate.began
	f.awaitEvent(node, "NodeInvalid", "kubectl edit node invalid --subresource=status")
	fixed := f.read(node)
	fixed.Status.Addresses = fixed.Status.Addresses[:1]
	if _, err := f.client.CoreV1().Nodes().UpdateStatus(f.Context(), fixed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	gate.open <- struct{}{}
	f.awaitDeleted(node)
	close(gate.open)
}
