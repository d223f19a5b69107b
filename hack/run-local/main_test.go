package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// local runs the helper with a shell in the place of the agent.
func local(ctx context.Context, script string, environment map[string]string) (string, error) {
	var out bytes.Buffer
	err := run(ctx, func(name string) string { return environment[name] }, &out, []string{"/bin/sh", "-c", script})
	return out.String(), err
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRunLocalRefusesAClusterWithAnAgent(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Name: "run-local"})
	t.Setenv("KUBECONFIG", c.Kubeconfig())
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(c.RESTConfig())}.Apply(t.Context(), install.Options{Namespace: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	started := filepath.Join(t.TempDir(), "started")

	_, err = local(t.Context(), "touch "+started, nil)
	if err == nil || exists(t, started) {
		t.Fatalf("got %v; the agent was started: %v", err, exists(t, started))
	}
	for _, want := range []string{
		c.URL(), "deployment nodecleanup-agent in namespace elsewhere", "FORCE=true make run-local",
		"kubectl -n elsewhere scale deployment nodecleanup-agent --replicas=0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in: %v", want, err)
		}
	}

	if _, err := local(t.Context(), "touch "+started, map[string]string{"FORCE": "true"}); err != nil || !exists(t, started) {
		t.Errorf("with FORCE=true: got %v; the agent was started: %v", err, exists(t, started))
	}

	scale, err := client.AppsV1().Deployments("elsewhere").GetScale(t.Context(), api.Agent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 0
	if _, err := client.AppsV1().Deployments("elsewhere").UpdateScale(t.Context(), api.Agent, scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if said, err := local(t.Context(), "true", nil); err != nil || said != "" {
		t.Errorf("without an agent in the cluster: got %v, and %q", err, said)
	}

	nobody, err := c.KubeconfigFor("nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", nobody)
	if _, err := local(t.Context(), "true", nil); err == nil || !strings.Contains(err.Error(), "to skip this check: FORCE=true") {
		t.Errorf("by a user who may not look: got %v", err)
	}
}

func TestExitReportsHeldNodes(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Name: "run-local"})
	t.Setenv("KUBECONFIG", c.Kubeconfig())
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	for name, finalizers := range map[string][]string{"a": {api.Finalizer}, "b": {api.Finalizer}, "c": nil} {
		node := cluster.MakeNode(name, nil)
		node.Finalizers = finalizers
		if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	started, ended := filepath.Join(dir, "started"), filepath.Join(dir, "ended")
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		_ = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			_, err := os.Stat(started)
			return err == nil, nil
		})
	}()

	said, err := local(ctx, `sleep 1000 & trap "kill $!; touch `+ended+`; exit 0" TERM; touch `+started+`; wait`, nil)

	if err != nil || !exists(t, ended) {
		t.Errorf("got %v; the agent ended in good order: %v", err, exists(t, ended))
	}
	for _, want := range []string{"keep the finalizer nodecleanup.io/finalizer: 2", "make run-local", "kubectl-nodecleanup uninstall"} {
		if !strings.Contains(said, want) {
			t.Errorf("missing %q in: %s", want, said)
		}
	}

	webhook := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookName}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: api.WebhookHook, AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionv1.SideEffectClassNone),
		ClientConfig: admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:9443/mutate-node")},
	}}}
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), webhook, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	arguments := filepath.Join(dir, "arguments")
	if _, err := local(t.Context(), `echo "$0 $1" >`+arguments, nil); err != nil {
		t.Error(err)
	}
	if written, err := os.ReadFile(arguments); err != nil || string(written) != "--webhook-listen 127.0.0.1:9443\n" {
		t.Errorf("the agent was started with %q, %v", written, err)
	}

	said, err = local(t.Context(), "exit 7", nil)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(said, ": 2.") {
		t.Errorf("an agent that failed: got %v, and %q", err, said)
	}
}

func TestConfigIsValid(t *testing.T) {
	written, err := os.ReadFile("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse(written, plugins.Catalog(plugins.Dependencies{})); err != nil {
		t.Error(err)
	}
}
