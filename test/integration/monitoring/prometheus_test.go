package monitoring_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/test/monitoring"
)

// The labels that an operator's service discovery puts on an agent.
const (
	clusterLabel = "north"
	job          = "nodecleanup-agent"
)

// It scrapes and evaluates each second: an answer is as old as that.
const settings = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
- job_name: ` + job + `
  static_configs: [{targets: [%q], labels: {cluster: ` + clusterLabel + `, namespace: %s, pod: agent-0}}]
- job_name: apiserver
  scheme: https
  tls_config: {ca_file: %q, cert_file: %q, key_file: %q}
  static_configs: [{targets: [%q], labels: {cluster: ` + clusterLabel + `}}]
`

// startPrometheus starts a Prometheus for a test. It scrapes the agent at an address, even before
// the agent runs.
func startPrometheus(t *testing.T, agent, namespace string) v1.API {
	t.Helper()
	folder := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	admin := shared.RESTConfig()
	config := file("prometheus.yaml", fmt.Appendf(nil, settings, monitoring.AlertsFile(), agent, namespace,
		shared.CAFile(), file("client.crt", admin.CertData), file("client.key", admin.KeyData), shared.URL()[len("https://"):]))
	address := freeAddress(t)
	process := cluster.NewProcess(cluster.Command{
		Name: "prometheus", Path: program,
		Args: []string{
			"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(folder, "data"),
			"--web.listen-address=" + address, "--log.level=warn",
		},
		Ready: cluster.Ready{URL: "http://" + address + "/-/ready"}, StopTimeout: 5 * time.Second,
	}, folder)
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
	})
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	return v1.NewAPI(client)
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
