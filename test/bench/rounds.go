package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// bench is the measurement with one number of nodes.
type bench struct {
	options
	nodes   int
	round   int
	cluster *cluster.Cluster
	client  kubernetes.Interface
	// asAgent has the rights and the identity of the agent.
	asAgent kubernetes.Interface
	agent   *cluster.Process

	// floors take turns with the agent.
	floors []*floor
	agents []*deletions

	requests map[request]int
	// repeated counts the agent's writes that it had done already, to the same object.
	repeated int
	spent    map[string]time.Duration
	// peak is the most resident memory that the agent ever had, in bytes.
	peak int64
}

func newBench(c *cluster.Cluster, o options, nodes int) (*bench, error) {
	config := c.RESTConfig()
	config.ContentType = runtime.ContentTypeProtobuf // As the agent's.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, nodes: nodes, cluster: c, client: client, requests: map[request]int{}, spent: map[string]time.Duration{}}
	b.floors = b.newFloors()
	return b, nil
}

// install applies the manifests and builds the agent in a folder; it is not started yet.
// It has the rights that the manifests give it, and no others.
func (b *bench) install(ctx context.Context, dir string) error {
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(b.cluster.RESTConfig())}.Apply(ctx, install.Options{
		AgentURL: "https://127.0.0.1:1", // No webhook: the nodes are created with the finalizer.
		// The policy would put our finalizer on the floor's nodes too.
		Admission: install.AdmissionWebhook,
		Config:    b.config(""),
	})
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := b.writeKubeconfig(ctx, kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType, config.QPS, config.UserAgent = runtime.ContentTypeProtobuf, -1, "bench-floor" // The first two as the agent's.
	if b.asAgent, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	binary := filepath.Join(dir, api.Agent)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", binary, "github.com/nodecleanup/kubectl-nodecleanup/cmd/nodecleanup-agent")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the agent: %w", err)
	}
	const probes = "127.0.0.1:18081"
	b.agent = cluster.NewProcess(cluster.Command{
		Name: api.Agent, Path: binary,
		Args: []string{
			"--kubeconfig=" + kubeconfig, "--namespace=" + api.Namespace, "--identity=bench",
			"--webhook-listen=", "--metrics-listen=", "--probe-listen=" + probes,
		},
		Ready: cluster.Ready{URL: "http://" + probes + "/readyz"},
	}, dir)
	return nil
}

// config returns the agent's config: a step without effect, and further fields.
func (b *bench) config(further string) []byte {
	return fmt.Appendf(nil, `apiVersion: nodecleanup.io/v1alpha1
kind: Config
concurrency: {nodes: %d}
history: {maxRuns: 1000000}
steps:
- {name: nothing, plugin: logger, critical: true}
%s`, b.concurrency, further)
}

// writeKubeconfig writes one with a token of the agent's service account, which is
// how the agent identifies itself in a cluster.
func (b *bench) writeKubeconfig(ctx context.Context, path string) error {
	token, err := b.client.CoreV1().ServiceAccounts(api.Namespace).CreateToken(ctx, api.Agent, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of the agent's service account: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["bench"] = &clientcmdapi.Cluster{Server: b.cluster.URL(), CertificateAuthorityData: b.cluster.RESTConfig().CAData}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "agent"}
	config.CurrentContext = "bench"
	return clientcmd.WriteToFile(*config, path)
}

// agentRound deletes nodes while the agent runs.
func (b *bench) agentRound(ctx context.Context) error {
	nodes, err := b.create(ctx, fmt.Sprintf("agent-%d", b.round), api.Finalizer)
	if err != nil {
		return err
	}
	if err := b.agent.Start(ctx); err != nil {
		return err
	}
	mark, err := b.cluster.AuditMark()
	if err != nil {
		return err
	}
	spent := b.spend("agent")
	left, err := b.deleteAndWait(ctx, nodes, func(ctx context.Context, d *deletions) error {
		return b.each(ctx, nodes, func(ctx context.Context, node nodeID) error { return d.delete(ctx, b.client, node.name) })
	})
	b.agents = append(b.agents, left)
	if err != nil {
		return fmt.Errorf("%w; the agent's log is %s", err, b.agent.Log())
	}
	if err := b.measureAgent(ctx, mark); err != nil {
		return err
	}
	spent()
	return b.agent.Stop(ctx)
}
