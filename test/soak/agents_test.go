package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// agent is one of the agents: a process with the rights of the ServiceAccount, which reaches the
// API server through its own proxy.
type agent struct {
	name    string
	process *cluster.Process
	network *proxy
	webhook string

	mutex sync.Mutex
	// away: the test has stopped it and will start it.
	away bool
}

func buildAgent(t *testing.T) string {
	t.Helper()
	if *agentPath != "" {
		return *agentPath
	}
	binary := filepath.Join(t.TempDir(), "nodecleanup-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/nodecleanup-agent")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the agent: %v\n%s", err, output)
	}
	return binary
}

func newAgent(t *testing.T, name, binary, webhook string) *agent {
	t.Helper()
	a := &agent{name: name, webhook: webhook, network: newProxy(t, strings.TrimPrefix(shared.URL(), "https://"))}
	credentials := shared.RESTConfigFor("system:serviceaccount:"+api.Namespace+":"+api.Agent,
		"system:serviceaccounts", "system:serviceaccounts:"+api.Namespace, "system:authenticated")
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: fmt.Sprintf("https://127.0.0.1:%d", a.network.port), CertificateAuthorityData: credentials.CAData}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{ClientCertificateData: credentials.CertData, ClientKeyData: credentials.KeyData}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy", AuthInfo: "agent"}
	config.CurrentContext = "proxy"
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	probes := freeAddress(t)
	a.process = cluster.NewProcess(cluster.Command{
		Name: name, Path: binary,
		Args: []string{
			"--kubeconfig=" + kubeconfig, "--identity=" + name, "--probe-listen=" + probes, "--webhook-listen=" + webhook,
			"--lease-duration=6s", "--lease-renew-deadline=4s", "--lease-retry-period=500ms",
		},
		Ready: cluster.Ready{URL: "http://" + probes + "/healthz"},
	}, shared.Logs())
	t.Cleanup(func() {
		if err := a.process.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stopping %s: %v", name, err)
		}
	})
	return a
}

// start starts the agent if it does not run.
func (a *agent) start(ctx context.Context) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.away = false
	if a.process.Running() {
		return nil
	}
	return a.process.Start(ctx)
}

// kill ends the agent at once, until start.
func (a *agent) kill() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.away = true
	return a.process.Kill()
}

// lost reports whether the agent has ended by itself.
func (a *agent) lost() bool {
	if !a.mutex.TryLock() {
		return false // It is being started or killed.
	}
	defer a.mutex.Unlock()
	return !a.away && !a.process.Running()
}

// freeAddress avoids the ports of outgoing connections, because the port must be free again
// whenever the agent is started.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(8000)))
		if err != nil {
			continue
		}
		defer listener.Close()
		return listener.Addr().String()
	}
	t.Fatal("there is no free port from 12000 to 20000")
	return ""
}
