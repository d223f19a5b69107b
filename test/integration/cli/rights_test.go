package cli_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestUserWithoutRights(t *testing.T) {
	nobody := kubeconfigFor(t, "nobody")
	for _, test := range []struct {
		name      string
		arguments []string
		names     []string
	}{
		{"install", []string{"install"}, []string{"you lack rights", "create namespaces", "nothing was stored", "cluster administrator"}},
		{"status", []string{"status"}, []string{"reading deployment nodecleanup-system/nodecleanup-agent", `User "nobody"`, "ask a cluster administrator"}},
		{"bypass", []string{"bypass", "n", "--reason", "r", "--yes"}, []string{"reading node n", `cannot get resource "nodes"`, "ask a cluster administrator"}},
		{"uninstall", []string{"uninstall", "--yes"}, []string{"finding the installed objects", "forbidden", "ask a cluster administrator"}},
		{"version", []string{"version"}, []string{"asking for the agent's version", "forbidden"}},
		{"as another user", []string{"status", "--as", "root"}, []string{"cannot impersonate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := want(t, exit.Failure, run(t, nobody, test.arguments...))
			wantText(t, result.errOut, append(test.names, "Next:")...)
		})
	}
}

// The agent's own tests show that its rights suffice; this one shows their limits.
func TestUninstallRevokesTheRightsOfTheAgent(t *testing.T) {
	client := admin(t)
	makeNamespace(t, client, reused)
	makeNode(t, client, "n", nil)
	must(t, "install", "-n", reused, "--agent-url", "https://127.0.0.1:1")
	config := shared.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + reused + ":" + api.Agent}
	agent, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	webhooks := agent.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := webhooks.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + api.WebhookName}); err != nil {
		t.Errorf("it cannot follow its own webhook: %v", err)
	}
	guards := agent.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := guards.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + api.WebhookName}); err != nil {
		t.Errorf("it cannot follow its own delete guard: %v", err)
	}
	everyone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "of-another-owner"}}
	if _, err := client.CoreV1().Secrets(reused).Create(ctx, everyone, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"delete nodes":              agent.CoreV1().Nodes().Delete(ctx, "n", metav1.DeleteOptions{}),
		"delete pods":               agent.CoreV1().Pods(reused).Delete(ctx, "p", metav1.DeleteOptions{}),
		"see all webhooks":          second(webhooks.List(ctx, metav1.ListOptions{})),
		"see all guards":            second(guards.List(ctx, metav1.ListOptions{})),
		"change other secrets":      second(agent.CoreV1().Secrets(reused).Update(ctx, everyone, metav1.UpdateOptions{})),
		"read secrets elsewhere":    second(agent.CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{})),
		"read configmaps elsewhere": second(agent.CoreV1().ConfigMaps("default").Get(ctx, "c", metav1.GetOptions{})),
		"write events elsewhere":    second(agent.CoreV1().Events("kube-system").Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}}, metav1.CreateOptions{})),
		"take other leases":         second(agent.CoordinationV1().Leases(reused).Get(ctx, "other", metav1.GetOptions{})),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("it may %s: %v", what, err)
		}
	}
	if err := client.CoreV1().Secrets(reused).Delete(ctx, everyone.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
