// Package rollout_test replaces agents one by one while Nodes are created: no
// creation may fail or come out unprotected.
package rollout_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	patience = 30 * time.Second
	restarts = 12
	creators = 16
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Main(m, cluster.Options{Name: "rollout"}, func(c *cluster.Cluster) { shared = c }))
}

func TestARolloutLosesNoNode(t *testing.T) {
	config := shared.RESTConfig()
	config.QPS = -1 // No limit.
	admin := kubernetes.NewForConfigOrDie(config)
	service := balance(t)
	installWith(t, admin, service.port)

	running := []*replica{start(t, "agent-0"), start(t, "agent-1")}
	for _, one := range running {
		service.add(one.webhook)
	}
	create := func(ctx context.Context, name string) (*corev1.Node, error) {
		return admin.CoreV1().Nodes().Create(ctx, cluster.MakeNode(name, nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		node, err := create(ctx, "probe")
		return err == nil && api.HasFinalizer(node), nil // The CA is not published yet.
	}); err != nil {
		t.Fatalf("waiting until the API server calls the webhook: %v", err)
	}

	var calls, failed, unprotected atomic.Int64
	load, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range creators {
		group.Go(func() {
			for load.Err() == nil {
				// Not under load: one that is cut off by the end of the test is no failure.
				node, err := create(t.Context(), fmt.Sprintf("worker-%d", i))
				calls.Add(1)
				switch {
				case err != nil:
					if failed.Add(1) <= 5 {
						t.Errorf("a creation failed: %v", err)
					}
				case !api.HasFinalizer(node):
					unprotected.Add(1)
				}
			}
		})
	}
	for i := range restarts {
		young := start(t, fmt.Sprintf("agent-%d", i+2))
		service.add(young.webhook)
		old := running[0]
		running = append(running[1:], young)
		before := calls.Load()
		service.remove(old.webhook)
		old.stop()
		if calls.Load() == before {
			t.Error("nothing was created during a restart: it proves nothing")
		}
	}
	stop()
	group.Wait()
	t.Logf("%d restarts, %d creations: %d failed, %d unprotected", restarts, calls.Load(), failed.Load(), unprotected.Load())
	if failed.Load() > 0 || unprotected.Load() > 0 {
		t.Errorf("%d creations failed, %d nodes came out unprotected", failed.Load(), unprotected.Load())
	}
}

// installWith installs the webhook alone, behind a Service as in a cluster: with one
// the API server speaks HTTP/1.1 to it, and HTTP/2 with a URL.
func installWith(t *testing.T, admin kubernetes.Interface, port int) {
	t.Helper()
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}).Apply(t.Context(), install.Options{Admission: install.AdmissionWebhook}); err != nil {
		t.Fatal(err)
	}
	services := admin.CoreV1().Services(api.Namespace)
	if err := services.Delete(t.Context(), api.Agent, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := services.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: api.Agent},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// With Fail, a request that is lost is an error, and not a Node that the watcher protects later.
	patch := fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"},{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":%d}]`, port)
	if _, err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), api.WebhookName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// replica is one agent.
type replica struct {
	webhook string
	stop    func()
}

// start returns when the agent is ready, as a Pod is before a Service sends to it.
func start(t *testing.T, identity string) *replica {
	t.Helper()
	probes := freeAddress(t)
	r := &replica{webhook: freeAddress(t)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	options := agent.Options{
		REST: shared.RESTConfig(), Namespace: api.Namespace, Identity: identity, Version: "test", Lease: agent.DefaultLeaseTiming(),
		WebhookListen: r.webhook, ProbeListen: probes, Catalog: plugins.Catalog, Log: slog.New(slog.DiscardHandler),
	}
	go func() { ended <- agent.Run(ctx, options) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with: %v", identity, err)
		}
	})
	t.Cleanup(r.stop)
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probes+"/readyz", nil)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil // It does not listen yet.
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode == http.StatusOK, err
	}); err != nil {
		t.Fatalf("waiting until %s is ready: %v", identity, err)
	}
	return r
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
