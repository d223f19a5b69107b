package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// The components of a cluster, in the order in which they are started.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok" // plays the kubelets
)

func componentNames() []string {
	return []string{Etcd, APIServer, ControllerManager, Scheduler, Kwok}
}

// layout says where everything of one cluster is.
type layout struct {
	binary string // of Kubernetes
	dir    string
	ports  componentPorts
}

// componentPorts are the ports on loopback.
type componentPorts struct {
	Etcd, EtcdPeer, APIServer, ControllerManager, Scheduler, Kwok int
}

func newComponentPorts(reserved *ports) (componentPorts, error) {
	p, err := reserved.reserve(6)
	if err != nil {
		return componentPorts{}, err
	}
	return componentPorts{p[0], p[1], p[2], p[3], p[4], p[5]}, nil
}

func (l layout) logs() string                 { return filepath.Join(l.dir, "logs") }
func (l layout) auditLog() string             { return filepath.Join(l.dir, "audit.log") }
func (l layout) auditPolicy() string          { return filepath.Join(l.dir, "audit-policy.yaml") }
func (l layout) kwokStages() string           { return filepath.Join(l.dir, "kwok-stages.yaml") }
func (l layout) kubeconfig() string           { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) kubeconfigs() string          { return filepath.Join(l.dir, "kubeconfigs") }
func (l layout) pki(name string) string       { return filepath.Join(l.dir, "pki", name) }
func (l layout) kubeconfigOf(c string) string { return filepath.Join(l.kubeconfigs(), c) }
func (l layout) url() string                  { return "https://" + address(l.ports.APIServer) }

// commands returns the command of every component, whether it is to be started or not.
func (l layout) commands(options Options) []Command {
	return []Command{
		l.command(Etcd, Ready{URL: "http://" + address(l.ports.Etcd) + "/readyz"}, l.etcdFlags()),
		l.command(APIServer, l.readyz(l.ports.APIServer, "/readyz"), l.apiServerFlags(options)),
		l.command(ControllerManager, l.readyz(l.ports.ControllerManager, "/healthz"), l.controllerManagerFlags()),
		l.command(Scheduler, l.readyz(l.ports.Scheduler, "/readyz"), l.schedulerFlags()),
		l.command(Kwok, Ready{URL: "http://" + address(l.ports.Kwok) + "/readyz"}, l.kwokFlags()),
	}
}

func (l layout) command(name string, ready Ready, flags []string) Command {
	return Command{
		Name: name, Path: l.binary, Args: append([]string{name}, flags...), Env: l.environment(), Dir: l.dir, Ready: ready,
	}
}

func (l layout) readyz(port int, path string) Ready {
	return Ready{URL: "https://" + address(port) + path, CAFile: l.pki("ca.crt")}
}

// environment omits variables that the components would read as settings: ETCD_*, KUBECONFIG,
// ~/.kwok.
func (l layout) environment() []string {
	return []string{"HOME=" + l.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
}

func (l layout) etcdFlags() []string {
	client, peer := "http://"+address(l.ports.Etcd), "http://"+address(l.ports.EtcdPeer)
	return []string{
		"--name=etcd",
		"--data-dir=" + filepath.Join(l.dir, "etcd"),
		// The data is useless after a crash of the machine, and a crash of etcd loses nothing.
		"--unsafe-no-fsync",
		"--log-level=warn",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=etcd=" + peer,
	}
}

func (l layout) apiServerFlags(options Options) []string {
	flags := []string{
		"--etcd-servers=http://" + address(l.ports.Etcd),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", l.ports.APIServer),
		// There is no Pod network: no client uses the Service of the API server, and an
		// EndpointSlice must not hold a loopback address.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--allow-privileged",
		"--profiling=false",
		// Otherwise a SIGTERM waits a minute for clients that watch.
		"--shutdown-send-retry-after",

		"--tls-cert-file=" + l.pki("server.crt"),
		"--tls-private-key-file=" + l.pki("server.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--requestheader-client-ca-file=" + l.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + l.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + l.pki("front-proxy-client.key"),
		// For logs of pods, on a node that has a kubelet.
		"--kubelet-client-certificate=" + l.pki("kubelet-client.crt"),
		"--kubelet-client-key=" + l.pki("kubelet-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + l.pki("service-account.key"),
		"--service-account-signing-key-file=" + l.pki("service-account.key"),

		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",

		// Blocking: an event is in the file when its response arrives.
		"--audit-policy-file=" + l.auditPolicy(),
		"--audit-log-path=" + l.auditLog(),
		"--audit-log-mode=blocking",
		"--audit-log-maxsize=1000",
		"--audit-log-maxbackup=1",
	}
	if !options.WithControllerManager {
		// It needs the service account "default" of a namespace, which the controller manager makes.
		flags = append(flags, "--disable-admission-plugins=ServiceAccount")
	}
	return slices.Concat(flags, options.APIServerFlags)
}

func (l layout) controllerManagerFlags() []string {
	return append(l.managerFlags(ControllerManager, l.ports.ControllerManager),
		"--use-service-account-credentials",
		// It makes a client for every controller at the start, 20 in a second by default.
		"--kube-api-qps=1000",
		"--kube-api-burst=1000",
		"--service-account-private-key-file="+l.pki("service-account.key"),
		"--root-ca-file="+l.pki("ca.crt"),
		"--cluster-signing-cert-file="+l.pki("ca.crt"),
		"--cluster-signing-key-file="+l.pki("ca.key"),
		// It makes the directory, whose default is one of the system's.
		"--flex-volume-plugin-dir="+filepath.Join(l.dir, "flexvolume"),
	)
}

func (l layout) schedulerFlags() []string {
	return l.managerFlags(Scheduler, l.ports.Scheduler)
}

// managerFlags are common to the controller manager and the scheduler.
func (l layout) managerFlags(name string, port int) []string {
	kubeconfig := l.kubeconfigOf(name)
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + l.pki("server.crt"),
		"--tls-private-key-file=" + l.pki("server.key"),
		"--leader-elect=false",
		"--profiling=false",
	}
}

func (l layout) kwokFlags() []string {
	return kwokFlags(l.kubeconfigOf(Kwok), l.kwokStages(), address(l.ports.Kwok))
}
