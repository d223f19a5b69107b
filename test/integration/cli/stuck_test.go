package cli_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// The CLI gives the agent's pods 45 seconds; here they get one.
func TestRemoveForcesPodsOfADeadNode(t *testing.T) {
	client := admin(t)
	makeNode(t, client, "dead", finalizers(api.Finalizer))
	must(t, "install", "--agent-url", "https://127.0.0.1:1")
	pod := cluster.MakePod(api.Namespace, "agent-on-a-dead-node", "dead")
	pod.Labels = map[string]string{api.LabelName: api.LabelNameValue}
	pod.Spec.SecurityContext = restricted()
	pod.Spec.Containers[0].SecurityContext = restrictedContainer()
	// Held until the end of the test, so that the namespace is held too.
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{othersFinalizer}}}
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods(api.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	objects, err := dynamic.NewForConfig(shared.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	remover := &install.Remover{Objects: objects, Nodes: client, Now: time.Now, AgentStops: time.Second, Report: func(line string) { t.Log(line) }}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = remover.Remove(ctx, api.Namespace, false)
	var left *install.NamespaceLeftError
	if !errors.As(err, &left) || !strings.Contains(left.Holding.Message, othersFinalizer) && !strings.Contains(left.Holding.Message, "configmaps") {
		t.Errorf("got %v, want an error that names what holds the namespace", err)
	}
	wantNothingOfOurs(t, client, api.Namespace)
	tooEarly := want(t, exit.Failure, run(t, shared.Kubeconfig(), "install"))
	wantText(t, tooEarly.errOut, "it is being deleted", "when the namespace is deleted")

	wantText(t, want(t, exit.Unhealthy, run(t, shared.Kubeconfig(), "check", "--pre")).out, "✗ namespace", "nodecleanup-system is being deleted")

	patch := []byte(`{"metadata":{"finalizers":null}}`)
	if _, err := client.CoreV1().ConfigMaps(api.Namespace).Patch(t.Context(), "held", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func restricted() *corev1.PodSecurityContext {
	yes := true
	return &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
}

func restrictedContainer() *corev1.SecurityContext {
	no := false
	return &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}
