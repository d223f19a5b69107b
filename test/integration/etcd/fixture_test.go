// Package etcd_test runs plugin etcd against real etcd clusters: the etcd that the local Kubernetes has.
package etcd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/etcd"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 60 * time.Second

// fixture is an etcd cluster of kubeadm, for one test: each member has an address of its own, and clients need a certificate.
type fixture struct {
	*testing.T
	binary, dir          string
	clientPort, peerPort int
	authority            *authority
	secrets              plugintest.Secrets
	nodes                *fake.Clientset
	members              map[string]*cluster.Process
	// transport of the plugin.
	transport *recorder
}

// setUp starts a cluster with the members cp-1, cp-2 and so on, at 127.0.0.1, 127.0.0.2 and so on.
func setUp(t *testing.T, size int, flags ...string) *fixture {
	t.Helper()
	binary, err := cluster.Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, binary: binary, dir: t.TempDir(), nodes: fake.NewClientset(), members: map[string]*cluster.Process{}, transport: &recorder{}}
	f.clientPort, f.peerPort = freePort(t), freePort(t)
	f.authority = newAuthority(t)
	certificate, key := f.authority.sign(t, "kube-apiserver-etcd-client")
	f.secrets = plugintest.Secrets{"ca.crt": f.authority.pem(), "tls.crt": certificate, "tls.key": "# canary\n" + key}
	ofServers, keyOfServers := f.authority.sign(t, "etcd")
	for name, text := range map[string]string{"ca.crt": f.authority.pem(), "server.crt": ofServers, "server.key": keyOfServers} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var initial []string
	for i := 1; i <= size; i++ {
		initial = append(initial, fmt.Sprintf("cp-%d=%s", i, f.peerURL(i)))
		f.node(i)
	}
	var group sync.WaitGroup
	for i := 1; i <= size; i++ {
		process := f.process(i, strings.Join(initial, ","), "new", flags...)
		group.Go(func() {
			if err := process.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return f
}

func (f *fixture) address(i int) string { return fmt.Sprintf("127.0.0.%d", i) }
func (f *fixture) peerURL(i int) string {
	return fmt.Sprintf("https://%s:%d", f.address(i), f.peerPort)
}
func (f *fixture) clientURL(i int) string {
	return fmt.Sprintf("https://%s:%d", f.address(i), f.clientPort)
}

// process returns a member that is not started yet, with the flags of kubeadm.
func (f *fixture) process(i int, initial, state string, flags ...string) *cluster.Process {
	f.Helper()
	name, ready := fmt.Sprintf("cp-%d", i), "/readyz"
	if state == "existing" {
		ready = "/livez" // A learner is never ready.
	}
	file := func(name string) string { return filepath.Join(f.dir, name) }
	process := cluster.NewProcess(cluster.Command{
		Name: name, Path: f.binary, Env: []string{"HOME=" + f.dir, "PATH=" + os.Getenv("PATH")}, Dir: f.dir,
		Args: append([]string{
			"etcd", "--name=" + name, "--data-dir=" + file("data-"+name), "--log-level=warn", "--unsafe-no-fsync",
			"--listen-client-urls=" + f.clientURL(i), "--advertise-client-urls=" + f.clientURL(i),
			"--listen-peer-urls=" + f.peerURL(i), "--initial-advertise-peer-urls=" + f.peerURL(i),
			"--initial-cluster=" + initial, "--initial-cluster-state=" + state,
			"--cert-file=" + file("server.crt"), "--key-file=" + file("server.key"), "--trusted-ca-file=" + file("ca.crt"), "--client-cert-auth",
			"--peer-cert-file=" + file("server.crt"), "--peer-key-file=" + file("server.key"), "--peer-trusted-ca-file=" + file("ca.crt"), "--peer-client-cert-auth",
			"--listen-metrics-urls=" + fmt.Sprintf("http://%s:%d", f.address(i), f.metricsPort(i)),
		}, flags...),
		Ready: cluster.Ready{URL: fmt.Sprintf("http://%s:%d", f.address(i), f.metricsPort(i)) + ready},
	}, filepath.Join(f.dir, "logs"))
	f.members[name] = process
	f.Cleanup(func() {
		if err := process.Kill(); err != nil {
			f.Error(err)
		}
	})
	return process
}

var (
	metricsMutex sync.Mutex
	metricsPorts = map[string]int{}
)

func (f *fixture) metricsPort(i int) int {
	metricsMutex.Lock()
	defer metricsMutex.Unlock()
	key := fmt.Sprint(f.dir, i)
	if metricsPorts[key] == 0 {
		metricsPorts[key] = freePort(f.T)
	}
	return metricsPorts[key]
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// node returns the control plane Node of a member. It exists in the cluster.
func (f *fixture) node(i int) *corev1.Node { return f.nodeAt(fmt.Sprintf("cp-%d", i), f.address(i)) }

func (f *fixture) nodeAt(name, address string) *corev1.Node {
	f.Helper()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name + address), Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
	if _, err := f.nodes.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	return node
}

func (f *fixture) descriptor() cleanup.Descriptor {
	return etcd.Descriptor(f.nodes, &http.Client{Transport: f.transport}, f.secrets)
}

// options have the endpoints of all members that were there at the beginning.
func (f *fixture) options() string {
	reference := func(key string) map[string]any {
		return map[string]any{"secretKeyRef": map[string]any{"name": "etcd", "key": key}}
	}
	data, err := json.Marshal(map[string]any{
		"caBundle": reference("ca.crt"), "certificate": reference("tls.crt"), "key": reference("tls.key"),
		"endpoints": []string{f.clientURL(1), f.clientURL(2), f.clientURL(3)},
	})
	if err != nil {
		f.Fatal(err)
	}
	return string(data)
}

func (f *fixture) plugin() cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor().Bind([]byte(f.options()))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

func (f *fixture) target(node *corev1.Node) cleanup.Target {
	return cleanup.Target{
		Node: node, Step: "etcd", Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/etcd",
		Log: slog.New(slog.NewTextHandler(f.Output(), nil)), Progress: func(string) {},
	}
}

// ask sends a request to a member, as etcdctl does.
func (f *fixture) ask(i int, path string, document, answer any) error {
	certificate, err := tls.X509KeyPair([]byte(f.secrets["tls.crt"]), []byte(f.secrets["tls.key"]))
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.authority.pool(), Certificates: []tls.Certificate{certificate}}}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(f.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.clientURL(i)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, data)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

type member struct {
	ID        string   `json:"ID"`
	Name      string   `json:"name"`
	PeerURLs  []string `json:"peerURLs"`
	IsLearner bool     `json:"isLearner"`
}

// list returns the members by name, or by peer URL if they have none, as a member of the cluster sees it.
func (f *fixture) list(through int) map[string]member {
	f.Helper()
	var answer struct {
		Members []member `json:"members"`
	}
	f.eventually("the members are listed", func() error { return f.ask(through, "/v3/cluster/member/list", struct{}{}, &answer) })
	found := map[string]member{}
	for _, one := range answer.Members {
		name := one.Name
		if name == "" {
			name = one.PeerURLs[0]
		}
		found[name] = one
	}
	return found
}

// leader returns the number of the leader.
func (f *fixture) leader(through int) (number int) {
	f.Helper()
	f.eventually("there is a leader", func() error {
		var answer struct {
			Leader string `json:"leader"`
		}
		if err := f.ask(through, "/v3/maintenance/status", struct{}{}, &answer); err != nil {
			return err
		}
		for name, one := range f.list(through) {
			if one.ID == answer.Leader {
				_, err := fmt.Sscanf(name, "cp-%d", &number)
				return err
			}
		}
		return fmt.Errorf("the leader is %s", answer.Leader)
	})
	return number
}

// add adds a member that is not started. etcd rejects changes of its members for 5 seconds after a start.
func (f *fixture) add(i int, learner bool) {
	f.Helper()
	f.eventually("a member is added", func() error {
		return f.ask(1, "/v3/cluster/member/add", map[string]any{"peerURLs": []string{f.peerURL(i)}, "isLearner": learner}, nil)
	})
}

func (f *fixture) eventually(what string, try func() error) {
	f.Helper()
	var last error
	err := wait.PollUntilContextTimeout(f.Context(), 100*time.Millisecond, testTimeout, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		f.Fatalf("waiting until %s: %v", what, last)
	}
}

// cleanUp repeats the cleanup while etcd rejects changes of its members: it does so for 5 seconds after a start.
func (f *fixture) cleanUp(node *corev1.Node) {
	f.Helper()
	f.eventually("the member of node "+node.Name+" is removed", func() error { return f.plugin().Cleanup(f.Context(), f.target(node)) })
}

// recorder records the paths of the requests of the plugin, and can answer in place of etcd.
type recorder struct {
	base   http.RoundTripper
	shared *recorder

	mutex   sync.Mutex
	paths   []string
	instead func(*http.Request) (*http.Response, error)
}

// WithTLS makes httpclient keep the recorder.
func (r *recorder) WithTLS(config *tls.Config) http.RoundTripper {
	return &recorder{base: &http.Transport{TLSClientConfig: config}, shared: r}
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.shared.mutex.Lock()
	r.shared.paths = append(r.shared.paths, request.URL.Path)
	instead := r.shared.instead
	r.shared.mutex.Unlock()
	if instead != nil {
		return instead(request)
	}
	return r.base.RoundTrip(request)
}

// sent returns the paths of the requests that change something, and forgets them.
func (r *recorder) sent() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var changes []string
	for _, path := range r.paths {
		if strings.Contains(path, "remove") || strings.Contains(path, "transfer") {
			changes = append(changes, path)
		}
	}
	r.paths = nil
	return changes
}

// answer replaces etcd until the end of the test.
func (r *recorder) answer(t *testing.T, instead func(*http.Request) (*http.Response, error)) {
	set := func(to func(*http.Request) (*http.Response, error)) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.instead = to
	}
	set(instead)
	t.Cleanup(func() { set(nil) })
}

// authority signs the certificates of a cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

// sign returns a certificate for servers and clients, and its key, as kubeadm makes them.
func (a *authority) sign(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for i := range 10 {
		template.IPAddresses = append(template.IPAddresses, net.IPv4(127, 0, 0, byte(i)))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, made.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(made)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", encoded)
}

func (a *authority) pem() string { return encode("CERTIFICATE", a.certificate.Raw) }

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
