//go:build linux

// Package node makes this machine a node of a local Kubernetes: kubelet, kube-proxy and
// containerd from Go modules, with runc and the CNI plugins of the system. It
// needs root and Linux.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const (
	// Name of the Node.
	Name = "real"

	cniPlugins = "/usr/lib/cni" // where Debian's containernetworking-plugins has them
	bridge     = "nodecleanup0"
	podNetwork = "10.244.77.0/24"
	// readyTimeout is how long the node may take to become Ready.
	readyTimeout = 2 * time.Minute
)

// Address returns the address by which Pods reach this machine. It is not loopback.
func Address() (net.IP, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("looking for this machine's address: %w", err)
	}
	for _, address := range addresses {
		if network, is := address.(*net.IPNet); is && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.To4(), nil
		}
	}
	return nil, errors.New("a node needs an IPv4 address that is not loopback")
}

// APIServerFlags returns the flags by which Pods reach the API server and it reaches them.
func APIServerFlags() ([]string, error) {
	address, err := Address()
	return []string{
		"--bind-address=0.0.0.0", "--advertise-address=" + address.String(), "--endpoint-reconciler-type=lease",
		// The node's name cannot be resolved, and the API server reads logs from the kubelet.
		"--kubelet-preferred-address-types=InternalIP",
	}, err
}

// Node is a node that runs.
type Node struct {
	layout
	processes []*cluster.Process
	unlock    func() error
}

// lockFile is held by the process that runs the node of this machine: a second node would use the
// same bridge.
const lockFile = "/run/nodecleanup-node.lock"

// Start starts the node and returns when it is Ready. root is the folder of this
// repository. The caller stops it.
func Start(ctx context.Context, c *cluster.Cluster, root string, out io.Writer) (_ *Node, err error) {
	if err := CheckRequirements(); err != nil {
		return nil, err
	}
	unlock, err := cluster.Lock(ctx, lockFile, func() { fmt.Fprintln(out, "Another process has the node of this machine; waiting for its end") })
	if err != nil {
		return nil, err
	}
	// Containers of a killed node would have the addresses of ours.
	if err := removeNetwork(ctx); err != nil {
		return nil, errors.Join(err, unlock())
	}
	programs, err := build(ctx, root, out)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	// Sockets have short names.
	dir, err := os.MkdirTemp("", "node-")
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	n := &Node{layout: layout{programs, dir}, unlock: unlock}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
		}
	}()
	commands, err := n.commands(c)
	if err != nil {
		return nil, err
	}
	for i, command := range commands {
		process := cluster.NewProcess(command, dir)
		n.processes = append(n.processes, process)
		if err := process.Start(ctx); err != nil {
			return nil, fmt.Errorf("%w; its log is %s", err, process.Log())
		}
		if i == 0 {
			if err := n.loadPause(ctx, root); err != nil {
				return nil, err
			}
		}
	}
	began := time.Now()
	if err := n.awaitReady(ctx, kubernetes.NewForConfigOrDie(c.RESTConfig())); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "Node %s is Ready after %.1fs\n", Name, time.Since(began).Seconds())
	return n, nil
}

// commands writes the configuration of containerd, kubelet and kube-proxy.
func (n *Node) commands(c *cluster.Cluster) ([]cluster.Command, error) {
	address, err := Address()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	kubelet, err := c.KubeconfigFor("system:node:"+Name, "system:nodes")
	if err != nil {
		return nil, err
	}
	proxy, err := c.KubeconfigFor("system:kube-proxy")
	if err != nil {
		return nil, err
	}
	if err := write(map[string]string{
		n.path("containerd.toml"):    n.containerdConfig(),
		n.path("cni", "10.conflist"): n.cniConfig(),
		n.path("kubelet.yaml"):       n.kubeletConfig(c.CAFile(), ports[0], ports[1]),
	}); err != nil {
		return nil, err
	}
	environment := []string{"PATH=" + n.programs + ":" + os.Getenv("PATH"), "HOME=" + n.dir, "TMPDIR=" + os.TempDir()}
	return []cluster.Command{
		{
			Name: "containerd", Path: n.program("containerd"), Args: []string{"--config", n.path("containerd.toml")}, Env: environment,
			Ready: cluster.Ready{LogLine: "containerd successfully booted"},
		},
		{
			Name: "kubelet", Path: n.program("node"), Env: environment,
			Args: []string{
				"kubelet", "--config=" + n.path("kubelet.yaml"), "--kubeconfig=" + kubelet, "--hostname-override=" + Name, "--node-ip=" + address.String(),
				"--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("pki"),
			},
			Ready: cluster.Ready{URL: fmt.Sprintf("http://127.0.0.1:%d/healthz", ports[1])},
		},
		{
			Name: "kube-proxy", Path: n.program("node"), Env: environment,
			Args: []string{
				"kube-proxy", "--kubeconfig=" + proxy, "--hostname-override=" + Name, "--proxy-mode=nftables", "--cluster-cidr=" + podNetwork,
				fmt.Sprintf("--healthz-bind-address=127.0.0.1:%d", ports[2]), fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", ports[3]),
				"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
			},
		},
	}, nil
}

func (n *Node) awaitReady(ctx context.Context, client kubernetes.Interface) error {
	var last string
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, readyTimeout, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			last = err.Error()
			return false, nil // It has not registered yet.
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				last = condition.Message
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until node %s is Ready, last: %s; its logs are in %s: %w", Name, last, n.dir, err)
	}
	return nil
}

func freePorts(count int) (ports []int, err error) {
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
