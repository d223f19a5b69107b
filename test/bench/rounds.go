package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
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
	agent   *cluster.Process

	floor, records, agents []*departures

	requests map[request]int
	// repeated counts the agent's writes that it had done already, to the same object.
	repeated int
	spent    map[string]time.Duration
	peak     int64
}

func newBench(c *cluster.Cluster, o options, nodes int) (*bench, error) {
	config := c.RESTConfig()
	config.ContentType = runtime.ContentTypeProtobuf // As the agent's.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &bench{options: o, nodes: nodes, cluster: c, client: client, requests: map[request]int{}, spent: map[string]time.Duration{}}, nil
}

// install applies the manifests and builds the agent in a folder; it is not started yet.
// It has the rights that the manifests give it, and no others.
func (b *bench) install(ctx context.Context, dir string) error {
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(b.cluster.RESTConfig())}.Apply(ctx, install.Options{
		AgentURL: "https://127.0.0.1:1", // Nobody: the nodes have the finalizer from the start.
		// The policy would put our finalizer on the floor's nodes too.
		Admission: install.AdmissionWebhook,
		Config: fmt.Appendf(nil, `apiVersion: nodecleanup.io/v1alpha1
kind: Config
concurrency: {nodes: %d}
history: {maxRuns: 1000000}
steps:
- {name: nothing, plugin: logger, critical: true}
`, b.concurrency),
	})
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := b.writeKubeconfig(ctx, kubeconfig); err != nil {
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

// floorRound deletes nodes and takes their finalizers off, and does nothing else.
func (b *bench) floorRound(ctx context.Context) error {
	b.round++
	left, err := b.clientRound(ctx, "floor", b.removeFinalizer)
	b.floor = append(b.floor, left)
	return err
}

// recordRound does what the floor does, and keeps records as the agent does where it cannot
// write several at once: one before and after, and an Event. What is left between this and the
// agent is the agent.
func (b *bench) recordRound(ctx context.Context) error {
	left, err := b.clientRound(ctx, "record", func(ctx context.Context, name string) error {
		node, err := b.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		configMaps := b.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
		record, err := api.EncodeRun(metav1.NamespaceDefault, &api.Run{
			Node: name, NodeUID: node.UID, ConfigHash: "0123456789ab", PlanHash: "012345", State: api.Running, Host: api.HostOf(node), StartedAt: metav1.Now(),
			Steps: []api.StepRun{{Name: "nothing", Plugin: "logger", Critical: true, State: api.StepRunning, Attempts: 1}},
		})
		if err != nil {
			return err
		}
		if record, err = configMaps.Create(ctx, record, metav1.CreateOptions{}); err != nil {
			return err
		}
		record.Data[api.RunKey] += " "
		if _, err := configMaps.Update(ctx, record, metav1.UpdateOptions{}); err != nil {
			return err
		}
		if err := b.removeFinalizer(ctx, name); err != nil {
			return err
		}
		_, err = b.client.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name},
			InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID},
			Type:           corev1.EventTypeNormal, Reason: "CleanupCompleted", Message: "Cleanup done, the node is released. Steps: nothing succeeded",
		}, metav1.CreateOptions{})
		return err
	})
	b.records = append(b.records, left)
	return err
}

const floorFinalizer = "bench.nodecleanup.io/floor"

func (b *bench) removeFinalizer(ctx context.Context, name string) error {
	patch := []byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["` + floorFinalizer + `"]}}`)
	_, err := b.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// clientRound has this client delete nodes and release each right after.
func (b *bench) clientRound(ctx context.Context, side string, release func(context.Context, string) error) (*departures, error) {
	names, err := b.create(ctx, fmt.Sprintf("%s-%d", side, b.round), floorFinalizer)
	if err != nil {
		return nil, err
	}
	defer b.spend(side)()
	return b.depart(ctx, names, func(ctx context.Context, d *departures) error {
		return b.each(ctx, names, func(ctx context.Context, name string) error {
			if err := d.delete(ctx, b.client, name); err != nil {
				return err
			}
			return release(ctx, name)
		})
	})
}

// agentRound deletes nodes while the agent runs.
func (b *bench) agentRound(ctx context.Context) error {
	names, err := b.create(ctx, fmt.Sprintf("agent-%d", b.round), api.Finalizer)
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
	left, err := b.depart(ctx, names, func(ctx context.Context, d *departures) error {
		return b.each(ctx, names, func(ctx context.Context, name string) error { return d.delete(ctx, b.client, name) })
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
