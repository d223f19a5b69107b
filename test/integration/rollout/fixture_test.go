package rollout_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
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
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
)

// setUp installs only the webhook, behind a Service as in a cluster: with a Service the API server
// uses HTTP/1.1, and with a URL HTTP/2.
func setUp(t *testing.T) (kubernetes.Interface, *balancer) {
	t.Helper()
	config := shared.RESTConfig()
	config.QPS = -1 // No limit.
	admin, service := kubernetes.NewForConfigOrDie(config), balance(t)
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
	// With Fail, a request that is lost is an error, and not a Node that the watcher protects
	// later. One that waits for a processor is not lost, so it gets the time.
	patch := fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"},{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":20},{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":%d}]`, service.port)
	webhooks := admin.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := webhooks.Patch(t.Context(), api.WebhookName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := webhooks.Delete(context.WithoutCancel(t.Context()), api.WebhookName, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return admin, service
}

// certificateTiming sets short rotations. They are long enough for the only API server to read
// each CA.
func certificateTiming() servingcert.Timing {
	timing := servingcert.DefaultTiming()
	timing.Settle = 500 * time.Millisecond
	return timing
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
		// With the rights that the agent has in a cluster, and no others.
		REST: shared.RESTConfigFor("system:serviceaccount:"+api.Namespace+":"+api.Agent,
			"system:serviceaccounts", "system:serviceaccounts:"+api.Namespace, "system:authenticated"),
		Namespace: api.Namespace, Identity: identity, Version: "test", Lease: leader.DefaultTiming(),
		Certificates:  servingcert.Source{Timing: certificateTiming()},
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
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
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
