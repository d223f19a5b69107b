package guard_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

// holder is a finalizer that keeps a deleted Node until the test ends, or frees it.
const holder = "example.com/holder"

// fixture is one install with an agent.
type fixture struct {
	*testing.T
	admin     kubernetes.Interface
	namespace string
	webhook   string
	metrics   string
	installed install.Options
	// stop ends the agent, and returns when it has ended.
	stop func()
}

// setUp installs nodecleanup with that guard, and returns when the API server asks it.
func setUp(t *testing.T, guard string, change ...func(*agent.Options)) *fixture {
	f := &fixture{T: t, admin: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "nodecleanup-" + rand.String(5), webhook: freeAddress(t), metrics: freeAddress(t)}
	f.installed = install.Options{
		Namespace: f.namespace, AgentURL: "https://" + f.webhook,
		Config: []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: log, plugin: logger}]\n" + guard),
	}
	if _, err := f.apply(f.installed); err != nil {
		t.Fatalf("installing: %v", err)
	}
	t.Cleanup(f.tearDown)
	f.bind("editors", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "create", "patch", "delete", "deletecollection"}})
	f.bindTo("operators", api.Operator)
	options := agent.Options{
		REST: f.agentREST(), Namespace: f.namespace, Identity: "test", Version: "test", Catalog: plugins.Catalog,
		Lease:         leader.Timing{Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond},
		WebhookListen: f.webhook, MetricsListen: f.metrics, ShutdownDelay: time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, each := range change {
		each(&options)
	}
	f.start(options)
	f.awaitGuard()
	return f
}

func (f *fixture) apply(options install.Options) ([]install.Result, error) {
	return install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}.Apply(f.Context(), options)
}

func (f *fixture) agentREST() *rest.Config {
	return shared.RESTConfigFor(f.agentName(), "system:serviceaccounts", "system:serviceaccounts:"+f.namespace)
}

func (f *fixture) agentName() string {
	return fmt.Sprintf("system:serviceaccount:%s:%s", f.namespace, api.Agent)
}

func (f *fixture) start(options agent.Options) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, options) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("the agent ended with: %v", err)
		}
	})
	f.Cleanup(f.stop)
}

// awaitGuard waits until the API server asks this agent, and enforces its policies.
func (f *fixture) awaitGuard() {
	f.Helper()
	probe := f.node("probe", annotated(api.AnnotationProtect, "true"))
	f.eventually("the API server asks the guard", func(context.Context) (bool, error) {
		return apierrors.IsForbidden(f.delete(f.admin, probe, metav1.DryRunAll)), nil
	})
	f.eventually("the API server enforces the policy", func(ctx context.Context) (bool, error) {
		return apierrors.IsForbidden(f.annotate(f.as("ed", "editors"), probe, api.AnnotationBreakGlass, "probe", metav1.DryRunAll)), nil
	})
	f.free(probe)
}

// tearDown leaves no Node and no webhook to the next test.
func (f *fixture) tearDown() {
	ctx := context.WithoutCancel(f.Context())
	admission := f.admin.AdmissionregistrationV1()
	for what, err := range map[string]error{
		"the mutating webhook":   admission.MutatingWebhookConfigurations().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}),
		"the validating webhook": admission.ValidatingWebhookConfigurations().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}),
	} {
		if err != nil {
			f.Errorf("tearing %s down: %v", what, err)
		}
	}
	f.eventually("every node is deleted", func(context.Context) (bool, error) {
		nodes, err := f.admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, node := range nodes.Items {
			f.remove(node.Name)
		}
		return len(nodes.Items) == 0, nil
	})
}

// remove takes a Node away, whatever holds it.
func (f *fixture) remove(name string) {
	f.Helper()
	ctx := context.WithoutCancel(f.Context())
	patch := fmt.Sprintf(`{"metadata":{"finalizers":null,"annotations":{%q:"the test ends",%q:%q}}}`, api.AnnotationBreakGlass, api.AnnotationBreakGlassUntil, time.Now().Add(time.Hour).Format(time.RFC3339))
	if _, err := f.admin.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
	if err := f.admin.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (f *fixture) bind(group string, rules ...rbacv1.PolicyRule) {
	f.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-" + group}, Rules: rules}
	if _, err := f.admin.RbacV1().ClusterRoles().Create(f.Context(), role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	f.bindTo(group, role.Name)
}

func (f *fixture) bindTo(group, role string) {
	f.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-" + group},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group}},
	}
	if _, err := f.admin.RbacV1().ClusterRoleBindings().Create(f.Context(), binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
}

func (f *fixture) as(user string, groups ...string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(shared.RESTConfigFor(user, groups...))
}

func annotated(pairs ...string) func(*corev1.Node) {
	return func(node *corev1.Node) {
		for i := 0; i < len(pairs); i += 2 {
			node.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func labelled(key, value string) func(*corev1.Node) {
	return func(node *corev1.Node) { node.Labels[key] = value }
}

// node creates a Node that takes pods, with our finalizer, which stays when it is deleted.
func (f *fixture) node(name string, change ...func(*corev1.Node)) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode(name, nil)
	node.Finalizers = []string{holder, api.Finalizer}
	for _, each := range change {
		each(node)
	}
	if _, err := f.admin.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	// A Node is tainted when it is created, until its kubelet reports it ready.
	node, err := f.admin.CoreV1().Nodes().Patch(f.Context(), name, types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

func (f *fixture) delete(client kubernetes.Interface, node *corev1.Node, dryRun ...string) error {
	return client.CoreV1().Nodes().Delete(f.Context(), node.Name, metav1.DeleteOptions{DryRun: dryRun})
}

func (f *fixture) annotate(client kubernetes.Interface, node *corev1.Node, key, value string, dryRun ...string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, key)
	}
	_, err := client.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dryRun})
	return err
}

// refused checks that the guard denied the deletion, that the message contains all texts, and that
// the Node was not changed.
func (f *fixture) refused(err error, node *corev1.Node, says ...string) {
	f.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `admission webhook "`+api.GuardHook+`" denied the request: node `+node.Name+" was not deleted: ") {
		f.Fatalf("the deletion of node %s was answered %v", node.Name, err)
	}
	for _, each := range append(says, "nodecleanup.io/break-glass=") {
		if !strings.Contains(err.Error(), each) {
			f.Errorf("it does not say %q: %v", each, err)
		}
	}
	if current := f.read(node); current == nil || current.DeletionTimestamp != nil || current.Annotations[api.AnnotationDeletionRequestedBy] != "" {
		f.Errorf("a deletion that was refused left the node %+v", current)
	}
}

// allowed checks that the Node terminates.
func (f *fixture) allowed(err error, node *corev1.Node) {
	f.Helper()
	if err != nil {
		f.Fatalf("the deletion of node %s was refused: %v", node.Name, err)
	}
	if current := f.read(node); current != nil && current.DeletionTimestamp == nil {
		f.Fatalf("node %s does not terminate", node.Name)
	}
}

// free removes the finalizers of a deleted Node.
func (f *fixture) free(node *corev1.Node) {
	f.Helper()
	f.remove(node.Name)
	f.eventually("node "+node.Name+" is deleted", func(context.Context) (bool, error) { return f.read(node) == nil, nil })
}

// read returns the Node, or nil when that UID is deleted.
func (f *fixture) read(node *corev1.Node) *corev1.Node {
	f.Helper()
	current, err := f.admin.CoreV1().Nodes().Get(f.Context(), node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && current.UID != node.UID {
		return nil
	}
	if err != nil {
		f.Fatal(err)
	}
	return current
}

// record waits for the run record of a Node that is in that state.
func (f *fixture) record(node *corev1.Node, state api.State) *api.Run {
	f.Helper()
	var run *api.Run
	f.eventually("the record of node "+node.Name+" says "+string(state), func(ctx context.Context) (bool, error) {
		configMap, err := f.admin.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.RunName(node.Name, node.UID), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		run, err = api.DecodeRun(configMap)
		return err == nil && run.State == state, err
	})
	return run
}

// awaitEvent waits for an Event about the Node whose message holds each text.
func (f *fixture) awaitEvent(node *corev1.Node, reason string, says ...string) {
	f.Helper()
	f.eventually(fmt.Sprintf("there is an Event %s about node %s that says %q", reason, node.Name, says), func(ctx context.Context) (bool, error) {
		events, err := f.admin.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(node.UID)})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(events.Items, func(event corev1.Event) bool {
			return event.Reason == reason && !slices.ContainsFunc(says, func(text string) bool { return !strings.Contains(event.Message, text) })
		}), nil
	})
}

func (f *fixture) eventually(what string, condition wait.ConditionWithContextFunc) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(context.WithoutCancel(f.Context()), 20*time.Millisecond, testTimeout, true, condition); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}
