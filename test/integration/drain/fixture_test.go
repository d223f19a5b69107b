package drain_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/drain"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

// fixture is a node with pods, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	node      *corev1.Node
	owner     *corev1.ConfigMap
	// user under which the drain asks the API server.
	user string
	// before, if there is one, is called before each write of the drain is sent.
	before func(request *http.Request)

	mutex    sync.Mutex
	progress []string
}

func setUp(t *testing.T) *fixture {
	name := "drain-" + rand.String(5)
	f := &fixture{T: t, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: name, user: name}
	ctx := t.Context()
	if _, err := f.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var err error
	// The garbage collector wants an owner that exists; its kind does not matter.
	if f.owner, err = f.client.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the namespace has its service account", func(ctx context.Context) (bool, error) {
		accounts, err := f.client.CoreV1().ServiceAccounts(name).List(ctx, metav1.ListOptions{})
		return err == nil && len(accounts.Items) > 0, err
	})
	f.node = f.createNode(name)
	return f
}

func (f *fixture) createNode(name string, change ...func(*corev1.Node)) *corev1.Node {
	f.Helper()
	wanted := cluster.MakeNode(name, nil)
	for _, c := range change {
		c(wanted)
	}
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), wanted, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

// pod creates a pod with a controller on a node, and waits until it runs.
func (f *fixture) pod(name string, node *corev1.Node, change ...func(*corev1.Pod)) *corev1.Pod {
	f.Helper()
	created := f.newPod(name, node, change...)
	f.eventually("pod "+name+" runs", func(ctx context.Context) (bool, error) {
		current, err := f.client.CoreV1().Pods(f.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && current.Status.Phase == corev1.PodRunning, err
	})
	return created
}

// newPod creates a pod with a controller on a node.
func (f *fixture) newPod(name string, node *corev1.Node, change ...func(*corev1.Pod)) *corev1.Pod {
	f.Helper()
	pod := cluster.MakePod(f.namespace, name, node.Name)
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: f.owner.Name, UID: f.owner.UID, Controller: ptr.To(true)}}
	for _, c := range change {
		c(pod)
	}
	created, err := f.client.CoreV1().Pods(f.namespace).Create(f.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return created
}

// budget wants a number of the pods labelled app=name to be healthy.
func (f *fixture) budget(name string, healthy int32) { f.budgetFor(name, name, healthy) }

func (f *fixture) budgetFor(name, app string, healthy int32) {
	f.Helper()
	_, err := f.client.PolicyV1().PodDisruptionBudgets(f.namespace).Create(f.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(healthy)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.eventually("the budget has counted its pods", func(ctx context.Context) (bool, error) {
		budget, err := f.client.PolicyV1().PodDisruptionBudgets(f.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && budget.Status.ObservedGeneration == budget.Generation && budget.Status.CurrentHealthy >= healthy, err
	})
}

// descriptor returns the drain of a user with all rights.
func (f *fixture) descriptor() cleanup.Descriptor {
	config := shared.RESTConfigFor(f.user, "system:masters")
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if f.before != nil && request.Method != http.MethodGet {
				f.before(request)
			}
			return next.RoundTrip(request)
		})
	})
	return drain.Descriptor(kubernetes.NewForConfigOrDie(config), clock.RealClock{}, nil)
}

// plugin returns the drain with options.
func (f *fixture) plugin(options string) cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor().Bind([]byte(options))
	if faults != nil {
		f.Fatal(faults)
	}
	return plugin
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

func (f *fixture) target() cleanup.Target {
	return cleanup.Target{
		Node: f.node, Attempt: 1, Began: time.Now(), IdempotencyKey: string(f.node.UID) + "/drain",
		Log: slog.New(slog.NewTextHandler(f.Output(), nil)),
		Progress: func(text string) {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.progress = append(f.progress, text)
		},
	}
}

// drain drains the node with options, within the time limit of a test.
func (f *fixture) drain(options string) error {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), testTimeout)
	defer cancel()
	return f.plugin(options).Cleanup(ctx, f.target())
}

// requests returns the drain's requests to the API server.
func (f *fixture) requests(which func(cluster.AuditEvent) bool) []cluster.AuditEvent {
	f.Helper()
	events, err := shared.AuditLog()
	if err != nil {
		f.Error(err)
	}
	return slices.DeleteFunc(events, func(event cluster.AuditEvent) bool { return event.User != f.user || !which(event) })
}

// writes: the request changed something, or was meant to.
func writes(event cluster.AuditEvent) bool {
	return !slices.Contains([]string{"get", "list", "watch"}, event.Verb) && !strings.Contains(event.URI, "dryRun=All")
}

func (f *fixture) said(text string) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return strings.Contains(strings.Join(f.progress, "\n"), text)
}

// forget clears the recorded progress of the drain.
func (f *fixture) forget() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.progress = nil
}

// pods returns the names of the pods in the test's namespace and their nodes.
func (f *fixture) pods() map[string]string {
	f.Helper()
	list, err := f.client.CoreV1().Pods(f.namespace).List(f.Context(), metav1.ListOptions{})
	if err != nil {
		f.Fatal(err)
	}
	pods := map[string]string{}
	for _, pod := range list.Items {
		pods[pod.Name] = pod.Spec.NodeName
	}
	return pods
}

func (f *fixture) eventually(what string, condition wait.ConditionWithContextFunc) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), 20*time.Millisecond, testTimeout, true, condition); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}
