package operate_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

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

// fixture is one install with one agent, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	port      int
	owner     *corev1.ConfigMap
}

// setUp installs nodecleanup with these steps, without starting an agent.
func setUp(t *testing.T, steps string) *fixture {
	// With the policy, too, nothing would show that the webhook is deleted.
	return setUpBy(t, install.AdmissionWebhook, steps)
}

func setUpBy(t *testing.T, admission install.Admission, steps string) *fixture {
	f := &fixture{T: t, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "nodecleanup-" + rand.String(5), port: freePort(t)}
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig()), ForceConflicts: true}.Apply(t.Context(), install.Options{
		Namespace: f.namespace,
		Admission: admission,
		AgentURL:  fmt.Sprintf("https://127.0.0.1:%d", f.port),
		Config:    []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n" + steps),
	})
	if err != nil {
		t.Fatalf("installing: %v", err)
	}
	t.Cleanup(f.tearDown)
	return f
}

func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// tearDown leaves no Node, no pod and no install to the next test.
func (f *fixture) tearDown() {
	ctx := context.WithoutCancel(f.Context())
	for what, err := range map[string]error{
		// Not by an uninstall, which waits until the namespace is deleted.
		"webhook":   f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}),
		"policy":    f.client.AdmissionregistrationV1().MutatingAdmissionPolicies().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}),
		"binding":   f.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}),
		"account":   f.client.CoreV1().ServiceAccounts(f.namespace).Delete(ctx, api.Agent, metav1.DeleteOptions{}),
		"namespace": f.client.CoreV1().Namespaces().Delete(ctx, f.namespace, metav1.DeleteOptions{}),
	} {
		if ignoreNotFound(err) != nil {
			f.Errorf("tearing down the %s: %v", what, err)
		}
	}
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		f.Errorf("tearing down: %v", err)
		return
	}
	for _, node := range nodes.Items {
		_, err := f.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err == nil {
			err = f.client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			f.Errorf("tearing down: %v", err)
		}
	}
}

// start runs the released agent until the test ends, or until the returned
// function is called, which waits for its end. It leads when start returns.
func (f *fixture) start() (stop func()) {
	f.Helper()
	return f.startWith(plugins.Catalog)
}

// startWith is start for an agent that has other plugins.
func (f *fixture) startWith(catalog func(plugins.Dependencies) []cleanup.Descriptor) (stop func()) {
	f.Helper()
	user := fmt.Sprintf("system:serviceaccount:%s:%s", f.namespace, api.Agent)
	options := agent.Options{
		REST:          shared.RESTConfigFor(user, "system:serviceaccounts", "system:serviceaccounts:"+f.namespace, "system:authenticated"),
		Namespace:     f.namespace,
		Identity:      "test",
		Lease:         leader.Timing{Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond},
		Version:       "v0.0.0-dev",
		Log:           slog.New(slog.NewTextHandler(f.Output(), nil)),
		Catalog:       catalog,
		WebhookListen: fmt.Sprintf("127.0.0.1:%d", f.port),
	}
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
	f.eventually("the agent leads and admits", func(ctx context.Context) (bool, error) {
		if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.StatusName, metav1.GetOptions{}); err != nil {
			return false, ignoreNotFound(err)
		}
		node, err := f.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
	return stop
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (f *fixture) eventually(what string, condition wait.ConditionWithContextFunc) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), 20*time.Millisecond, testTimeout, true, condition); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}

// node creates a protected node that kwok plays.
func (f *fixture) node(name string, labels map[string]string) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode(name, labels)
	node.Finalizers = []string{api.Finalizer}
	created, err := f.client.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return created
}

// pod creates a pod with a controller on a node, and waits until it runs.
func (f *fixture) pod(name, node string, change ...func(*corev1.Pod)) {
	f.Helper()
	ctx := f.Context()
	const namespace = "default"
	if f.owner == nil {
		var err error
		// The garbage collector wants an owner that exists; its kind does not matter.
		if f.owner, err = f.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "owner-"}}, metav1.CreateOptions{}); err != nil {
			f.Fatal(err)
		}
		f.eventually("there is a service account", func(ctx context.Context) (bool, error) {
			_, err := f.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, ignoreNotFound(err)
		})
	}
	pod := cluster.MakePod(namespace, name, node)
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: f.owner.Name, UID: f.owner.UID, Controller: ptr.To(true)}}
	for _, c := range change {
		c(pod)
	}
	if _, err := f.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		err := f.client.CoreV1().Pods(namespace).Delete(context.WithoutCancel(f.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
		if ignoreNotFound(err) != nil {
			f.Errorf("tearing down: %v", err)
		}
	})
	f.eventually("pod "+name+" runs", func(ctx context.Context) (bool, error) {
		current, err := f.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && current.Status.Phase == corev1.PodRunning, err
	})
}

// budget wants a number of the pods labelled app=name to be healthy.
func (f *fixture) budget(name string, healthy int32) {
	f.Helper()
	f.budgetFor(name, map[string]string{"app": name}, healthy)
}

func (f *fixture) budgetFor(name string, labels map[string]string, healthy int32) {
	f.Helper()
	budgets := f.client.PolicyV1().PodDisruptionBudgets("default")
	_, err := budgets.Create(f.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(healthy)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { f.dropBudget(name) })
	f.eventually("the budget has counted its pods", func(ctx context.Context) (bool, error) {
		budget, err := budgets.Get(ctx, name, metav1.GetOptions{})
		return err == nil && budget.Status.ObservedGeneration == budget.Generation && budget.Status.CurrentHealthy >= healthy, err
	})
}

func (f *fixture) dropBudget(name string) {
	err := f.client.PolicyV1().PodDisruptionBudgets("default").Delete(context.WithoutCancel(f.Context()), name, metav1.DeleteOptions{})
	if ignoreNotFound(err) != nil {
		f.Error(err)
	}
}

func app(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": name} }
}

func (f *fixture) delete(name string) {
	f.Helper()
	if err := f.client.CoreV1().Nodes().Delete(f.Context(), name, metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
}

// patch changes a node by a merge patch.
func (f *fixture) patch(name, patch string) {
	f.Helper()
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

// read returns the node, or nil when it is deleted.
func (f *fixture) read(name string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Get(f.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.Fatal(err)
	}
	return node
}

// awaitState waits for the reason of the node's condition.
func (f *fixture) awaitState(name string, state api.State) {
	f.Helper()
	f.eventually(fmt.Sprintf("node %s is in state %s", name, state), func(context.Context) (bool, error) {
		node := f.read(name)
		if node == nil {
			return false, fmt.Errorf("the node is deleted")
		}
		condition := api.CleanupConditionOf(node)
		return condition != nil && condition.Reason == string(state), nil
	})
}
