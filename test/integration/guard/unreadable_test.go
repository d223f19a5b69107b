package guard_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// warnings keeps those that the API server sends.
type warnings struct {
	mutex sync.Mutex
	said  []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.said = append(w.said, text)
}

func (w *warnings) all() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return strings.Join(w.said, "\n")
}

// forbid takes from the agent the right to list a resource, and gives it back at the end.
func (f *fixture) forbid(resource string) {
	f.Helper()
	roles := f.admin.RbacV1().ClusterRoles()
	role, err := roles.Get(f.Context(), api.AgentSteps, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	shipped := slices.Clone(role.Rules)
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, resource) })
	if _, err := roles.Update(f.Context(), role, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
	agent := kubernetes.NewForConfigOrDie(f.agentREST())
	f.eventually("the agent may not list "+resource, func(ctx context.Context) (bool, error) {
		_, err := agent.CoreV1().Pods("").List(ctx, metav1.ListOptions{Limit: 1})
		return err != nil, nil
	})
	f.Cleanup(func() {
		ctx := context.WithoutCancel(f.Context())
		role, err := roles.Get(ctx, api.AgentSteps, metav1.GetOptions{})
		if err != nil {
			f.Error(err)
			return
		}
		role.Rules = shipped
		if _, err := roles.Update(ctx, role, metav1.UpdateOptions{}); err != nil {
			f.Error(err)
		}
	})
}

func TestReadErrorAllowsWithAWarning(t *testing.T) {
	f := setUp(t, "guard: {criticalPods: [{namespaces: [default]}]}\n")
	node, precious := f.node("worker"), f.node("precious", annotated(api.AnnotationProtect, "true"))
	f.forbid("pods")
	f.refused(f.delete(f.admin, precious), precious, "nodecleanup.io/protect") // That needs no read.
	heard := &warnings{}
	client := shared.RESTConfig()
	client.WarningHandler = heard
	f.allowed(f.delete(kubernetes.NewForConfigOrDie(client), node), node)
	if !strings.Contains(heard.all(), "node worker: cannot evaluate guard.criticalPods: the agent lacks rights: list pods") ||
		!strings.Contains(heard.all(), "allowed because guard.onReadError=allow") {
		t.Errorf("the warnings are %q", heard.all())
	}
	if body := f.scrape(t.Context()); !strings.Contains(body, `node_cleanup_webhook_requests_total{operation="DELETE",result="error"} `) {
		t.Error("it is not counted")
	}
}

func TestReadErrorDeniesIfConfigured(t *testing.T) {
	f := setUp(t, "guard: {criticalPods: [{namespaces: [default]}], onReadError: refuse}\n")
	node := f.node("worker")
	f.forbid("pods")
	f.refused(f.delete(f.admin, node), node, "cannot evaluate guard.criticalPods: the agent lacks rights: list pods", "retry; denied because guard.onReadError=refuse")
}

// network drops the packets of connections without closing them, as a firewall does.
type network struct {
	mutex   sync.Mutex
	stopped chan struct{} // Closed when it continues; nil while it does.
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	connection, err := new(net.Dialer).DialContext(ctx, kind, address)
	return stalled{connection, n}, err
}

func (n *network) stop() (resume func()) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.stopped = make(chan struct{})
	return sync.OnceFunc(func() {
		n.mutex.Lock()
		defer n.mutex.Unlock()
		close(n.stopped)
		n.stopped = nil
	})
}

func (n *network) wait() {
	n.mutex.Lock()
	stopped := n.stopped
	n.mutex.Unlock()
	if stopped != nil {
		<-stopped
	}
}

type stalled struct {
	net.Conn
	network *network
}

func (s stalled) Write(data []byte) (int, error) {
	s.network.wait()
	return s.Conn.Write(data)
}

// The agent answers before the API server stops waiting, and continues without it.
func TestGuardAnswersInTimeDuringAnOutage(t *testing.T) {
	between := &network{}
	f := setUp(t, "guard: {criticalPods: [{namespaces: [default]}], maxTerminating: 3, onReadError: refuse}\n", func(options *agent.Options) { options.REST.Dial = between.dial })
	nodes := []*corev1.Node{f.node("one"), f.node("two")}
	resume := between.stop()
	defer resume()
	all(nodes, func(_ int, node *corev1.Node) { f.refusedInTime(node) })
	resume()
	f.eventually("the guard can read again", func(context.Context) (bool, error) { return f.delete(f.admin, nodes[0], metav1.DryRunAll) == nil, nil })
	f.allowed(f.delete(f.admin, nodes[0]), nodes[0])
}

// refusedInTime checks that the guard denies the deletion before the API server's timeout. It can
// be called from goroutines, because it does not end the test.
func (f *fixture) refusedInTime(node *corev1.Node) {
	err := f.delete(f.admin, node)
	if err == nil || !strings.Contains(err.Error(), "denied the request: node "+node.Name+" was not deleted: cannot read the node: ") {
		f.Errorf("the deletion of node %s was answered %v", node.Name, err)
	}
}
