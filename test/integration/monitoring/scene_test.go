package monitoring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	testTimeout = 60 * time.Second
	config      = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {maxRetries: 1, initialDelay: 50ms, maxDelay: 50ms}
steps:
- {name: inventory, plugin: http, critical: true, options: {url: %q}}
- {name: log, plugin: logger, critical: false, dependsOn: [inventory]}
`
	// sad is the name of a Node for which the inventory only returns errors.
	sad = "sad"
)

// scene is an install whose agent runs in this process.
type scene struct {
	client                     kubernetes.Interface
	namespace                  string
	webhook, metrics, settings string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{
		client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: api.Namespace,
		webhook: freeAddress(t), metrics: freeAddress(t), settings: fmt.Sprintf(config, inventory(t)),
	}
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}).Apply(t.Context(), install.Options{
		Namespace: s.namespace,
		// The policy would leave nothing to do for the webhook.
		Admission: install.AdmissionWebhook,
		AgentURL:  "https://" + s.webhook,
		Config:    []byte(s.settings),
	}); err != nil {
		t.Fatalf("installing: %v", err)
	}
	return s
}

// inventory answers the first request about a Node with an error, so that a step is
// tried again, and all those about the sad one.
func inventory(t *testing.T) string {
	t.Helper()
	var mu sync.Mutex
	asked := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var document struct {
			Node struct{ Name string }
		}
		if err := json.NewDecoder(r.Body).Decode(&document); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		again := asked[document.Node.Name]
		asked[document.Node.Name] = true
		mu.Unlock()
		if !again || document.Node.Name == sad {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// start runs the agent until the test ends.
func (s *scene) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Options{
			REST:      shared.RESTConfigFor("system:serviceaccount:"+s.namespace+":"+api.Agent, "system:serviceaccounts", "system:serviceaccounts:"+s.namespace, "system:authenticated"),
			Namespace: s.namespace, Identity: "agent-0", Version: "test",
			Lease:         leader.Timing{Duration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 100 * time.Millisecond},
			WebhookListen: s.webhook, MetricsListen: s.metrics,
			Catalog: plugins.Catalog, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	s.eventually(t, "the API server calls the webhook", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode("asked", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
}

func (s *scene) create(t *testing.T, name string, finalizers ...string) {
	t.Helper()
	node := cluster.MakeNode(name, nil)
	node.Finalizers = finalizers
	if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) delete(t *testing.T, name string) {
	t.Helper()
	if err := s.client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// clean creates and deletes a Node, and returns when its cleanup is done.
func (s *scene) clean(t *testing.T, name string) {
	t.Helper()
	s.create(t, name)
	s.delete(t, name)
	s.eventually(t, "node "+name+" is deleted", func(ctx context.Context) (bool, error) {
		_, err := s.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// configure changes the config; each text is another one.
func (s *scene) configure(t *testing.T, text string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{api.ConfigKey: text}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CoreV1().ConfigMaps(s.namespace).Patch(t.Context(), api.ConfigName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// refused wants the guard to refuse the deletion of a Node.
func (s *scene) refused(t *testing.T, name string) {
	t.Helper()
	node := cluster.MakeNode(name, nil)
	node.Annotations[api.AnnotationProtect] = "true"
	if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := s.client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "not deleted") {
		t.Fatalf("deleting a protected node: %v", err)
	}
}

func (s *scene) eventually(t *testing.T, what string, holds wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testTimeout, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
