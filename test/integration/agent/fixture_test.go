package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// testTimeout limits each wait of a test.
const testTimeout = 30 * time.Second

// fixture is one install of nodecleanup, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	port      int
	// probes are the functions that steps of plugin "probe" call, by the step's name.
	probes map[string]func(context.Context, cleanup.Target) error
}

// setUp installs nodecleanup with a config, without starting an agent.
func setUp(t *testing.T, config string) *fixture {
	f := &fixture{
		T:         t,
		client:    kubernetes.NewForConfigOrDie(shared.RESTConfig()),
		namespace: "nodecleanup-" + rand.String(5),
		port:      freePort(t),
		probes:    map[string]func(context.Context, cleanup.Target) error{},
	}
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}.Apply(t.Context(), install.Options{
		Namespace: f.namespace,
		// The policy would leave nothing to do for the webhook and the watcher.
		Admission: install.AdmissionWebhook,
		AgentURL:  fmt.Sprintf("https://127.0.0.1:%d", f.port),
		Config:    []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n" + config),
	})
	if err != nil {
		t.Fatalf("installing: %v", err)
	}
	t.Cleanup(f.tearDown)
	return f
}

// in returns the fixture for a subtest.
func (f *fixture) in(t *testing.T) *fixture {
	sub := *f
	sub.T = t
	return &sub
}

// tearDown leaves no Node and no webhook to the next test.
func (f *fixture) tearDown() {
	ctx := context.WithoutCancel(f.Context())
	webhooks := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := webhooks.Delete(ctx, api.WebhookName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Errorf("tearing down: %v", err)
	}
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		f.Errorf("tearing down: %v", err)
		return
	}
	for _, node := range nodes.Items {
		if _, err := f.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Errorf("tearing down: %v", err)
		}
		if err := f.client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Errorf("tearing down: %v", err)
		}
	}
}

func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// user returns the agent's service account.
func (f *fixture) user() (name string, groups []string) {
	return fmt.Sprintf("system:serviceaccount:%s:%s", f.namespace, api.Agent),
		[]string{"system:serviceaccounts", "system:serviceaccounts:" + f.namespace, "system:authenticated"}
}

func (f *fixture) rest() *rest.Config {
	name, groups := f.user()
	return shared.RESTConfigFor(name, groups...)
}

// options of an agent in this process.
func (f *fixture) options() agent.Options {
	return agent.Options{
		REST:      f.rest(),
		Namespace: f.namespace,
		Identity:  "test",
		Lease:     leader.Timing{Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond},
		Version:   "test",
		Log:       slog.New(slog.NewTextHandler(f.Output(), nil)),
		Catalog: func(dependencies plugins.Dependencies) []cleanup.Descriptor {
			return append(plugins.Catalog(dependencies), f.probe(), f.leak(dependencies.Secrets))
		},
	}
}

type probeOptions struct {
	Do string `json:"do"`
}

type probe struct {
	f  *fixture
	do string
}

func (f *fixture) probe() cleanup.Descriptor {
	return cleanup.Descriptor{
		Name:     "probe",
		Defaults: cleanup.Policy{Critical: true, Timeout: time.Minute},
		Bind: cleanup.Options(probeOptions{}, func(o probeOptions) (cleanup.Plugin, error) {
			return probe{f, o.Do}, nil
		}),
	}
}

func (p probe) Cleanup(ctx context.Context, target cleanup.Target) error {
	return p.f.probes[p.do](ctx, target)
}

// start runs an agent until the test ends, or until the returned function is
// called, which waits for its end.
func (f *fixture) start(options agent.Options) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, options) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("the agent ended with: %v", err)
		}
	}
	f.Cleanup(stop)
	return stop
}

// startWithWebhook runs an agent whose webhook the API server already calls.
func (f *fixture) startWithWebhook() (stop func()) {
	options := f.options()
	options.WebhookListen = fmt.Sprintf("127.0.0.1:%d", f.port)
	stop = f.start(options)
	f.eventually("the API server calls the webhook", func(ctx context.Context) (bool, error) {
		node, err := f.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
	return stop
}

func (f *fixture) eventually(what string, condition wait.ConditionWithContextFunc) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), 20*time.Millisecond, testTimeout, true, condition); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}

func (f *fixture) create(name string, finalizers ...string) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode(name, nil)
	node.Finalizers = finalizers
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

// protected creates a Node that has our finalizer from the start.
func (f *fixture) protected(name string, finalizers ...string) *corev1.Node {
	f.Helper()
	return f.create(name, append(finalizers, api.Finalizer)...)
}

func (f *fixture) delete(node *corev1.Node) {
	f.Helper()
	uid := node.UID
	if err := f.client.CoreV1().Nodes().Delete(f.Context(), node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil {
		f.Fatal(err)
	}
}

// read returns the Node, or nil when that UID is deleted.
func (f *fixture) read(node *corev1.Node) *corev1.Node {
	f.Helper()
	current, err := f.client.CoreV1().Nodes().Get(f.Context(), node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && current.UID != node.UID {
		return nil
	}
	if err != nil {
		f.Fatal(err)
	}
	return current
}

func (f *fixture) awaitDeleted(node *corev1.Node) {
	f.Helper()
	f.eventually("node "+node.Name+" is deleted", func(context.Context) (bool, error) { return f.read(node) == nil, nil })
}

// awaitState waits for the reason of the Node's condition and returns its message.
func (f *fixture) awaitState(node *corev1.Node, state api.State) string {
	f.Helper()
	var message string
	f.eventually(fmt.Sprintf("node %s is in state %s", node.Name, state), func(context.Context) (bool, error) {
		current := f.read(node)
		if current == nil {
			return false, fmt.Errorf("the node is deleted")
		}
		condition := api.CleanupConditionOf(current)
		if condition == nil || condition.Reason != string(state) {
			return false, nil
		}
		message = condition.Message
		return true, nil
	})
	return message
}

// awaitEvent waits for an Event about the Node whose message holds a text.
func (f *fixture) awaitEvent(node *corev1.Node, reason, text string) {
	f.Helper()
	f.eventually(fmt.Sprintf("there is an Event %s about node %s that says %q", reason, node.Name, text), func(ctx context.Context) (bool, error) {
		events, err := f.client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(node.UID)})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(events.Items, func(event corev1.Event) bool {
			return event.Reason == reason && strings.Contains(event.Message, text)
		}), nil
	})
}

// record returns the run record of a Node.
func (f *fixture) record(node *corev1.Node) *api.Run {
	f.Helper()
	configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(f.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	run, err := api.DecodeRun(configMap)
	if err != nil {
		f.Fatal(err)
	}
	return run
}

// listNamed lists one object by its name: none is an empty list, not an error.
func listNamed(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}
