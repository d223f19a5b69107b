package agent_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestProbesAndMetricsAreServed(t *testing.T) {
	f := setUp(t, logOnly)
	options := f.options()
	options.ProbeListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	options.MetricsListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	f.start(options)
	f.eventually("the agent is ready", func(context.Context) (bool, error) {
		status, _, err := f.get("http://" + options.ProbeListen + "/readyz")
		return err == nil && status == http.StatusOK, nil // It does not listen yet.
	})
	if status, _, err := f.get("http://" + options.ProbeListen + "/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("/healthz answers %d, %v", status, err)
	}
	node := f.protected("worker")
	f.eventually("the metrics tell of the node and the leader", func(context.Context) (bool, error) {
		_, body, err := f.get("http://" + options.MetricsListen + "/metrics")
		return strings.Contains(body, "node_cleanup_nodes_with_finalizer 1\n") && strings.Contains(body, "node_cleanup_leader 1\n"), err
	})
	f.delete(node)
	f.awaitDeleted(node)
	f.eventually("the metrics tell of the step", func(context.Context) (bool, error) {
		_, body, err := f.get("http://" + options.MetricsListen + "/metrics")
		return strings.Contains(body, `node_cleanup_operations_total{plugin="logger",result="success"} 1`+"\n") &&
			strings.Contains(body, "node_cleanup_nodes_with_finalizer 0\n"), err
	})
}

// One connection is one request at a time, or the bound on connections would bound no memory.
func TestWebhookDoesNotOfferHTTP2(t *testing.T) {
	f := setUp(t, logOnly)
	f.startWithWebhook()
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d%s", f.port, api.MutatePath), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer client.CloseIdleConnections()
	if response.Proto != "HTTP/1.1" {
		t.Errorf("it answers by %s", response.Proto)
	}
}

// get reads from one of the agent's own addresses.
func (f *fixture) get(url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(f.Context(), http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return response.StatusCode, string(read), err
}

func TestStatusNamesTheLeaderAndItsConfig(t *testing.T) {
	f := setUp(t, logOnly)
	f.start(f.options())
	f.eventually("the leader has reported", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return status != nil && status.Leader == "test" && status.Version == "test" && len(status.ConfigHash) == 12, err
	})
}

func (f *fixture) status(ctx context.Context) (*api.AgentStatus, error) {
	configMaps, err := f.client.CoreV1().ConfigMaps(f.namespace).List(ctx, listNamed(api.StatusName))
	if err != nil || len(configMaps.Items) == 0 {
		return nil, err
	}
	return api.DecodeStatus(&configMaps.Items[0])
}
