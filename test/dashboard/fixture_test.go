package dashboard_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/leader"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/dashboard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// testTimeout limits each wait of a test.
const testTimeout = 30 * time.Second

// fixture is one install of nodecleanup and a dashboard.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	stopAgent func()
	// browser is the path of Chromium.
	browser string
	page    *dashboard.Server
	// tab is the context of the browser.
	tab context.Context
	// complaints are what the console of the browser says, such as violations of the policy.
	complaints chan string
}

// setUpFake starts the dashboard on a fake API server that has these objects, and opens it in a browser.
func setUpFake(t *testing.T, objects ...k8sruntime.Object) *fixture {
	t.Helper()
	program := browser(t)
	client := fake.NewClientset(objects...)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if action.(clienttesting.WatchActionImpl).ListOptions.SendInitialEvents != nil {
			return true, nil, apierrors.NewBadRequest("the fake client cannot do this, like an older API server")
		}
		return false, nil, nil
	})
	f := &fixture{T: t, client: client, namespace: "nodecleanup-system", complaints: make(chan string, 100), browser: program}
	f.serve(client)
	f.open()
	return f
}

// setUp installs nodecleanup with a config, starts an agent and the dashboard, and opens it in a browser. The dashboard has
// the rights of an administrator.
func setUp(t *testing.T, config string) *fixture {
	t.Helper()
	f := installed(t, config)
	f.serve(f.client)
	f.open()
	return f
}

// installed installs nodecleanup with a config and starts an agent, without a dashboard.
func installed(t *testing.T, config string) *fixture {
	t.Helper()
	program := browser(t)
	f := &fixture{T: t, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "nodecleanup-" + rand.String(5), complaints: make(chan string, 100), browser: program}
	address := freeAddress(t)
	_, err := install.Applier{Objects: dynamic.NewForConfigOrDie(shared.RESTConfig())}.Apply(t.Context(), install.Options{
		Namespace: f.namespace, Admission: install.AdmissionWebhook, AgentURL: "https://" + address,
		Config: []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n" + config),
	})
	if err != nil {
		t.Fatalf("installing: %v", err)
	}
	t.Cleanup(f.tearDown)
	f.startAgent(address)
	return f
}

func (f *fixture) tearDown() {
	ctx := context.WithoutCancel(f.Context())
	if err := f.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}); err != nil {
		f.Errorf("tearing down: %v", err)
	}
	if err := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, api.WebhookName, metav1.DeleteOptions{}); err != nil {
		f.Errorf("tearing down: %v", err)
	}
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		f.Errorf("tearing down: %v", err)
		return
	}
	for _, node := range nodes.Items {
		if _, err := f.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			f.Errorf("tearing down: %v", err)
		}
		if node.DeletionTimestamp == nil {
			if err := f.client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil {
				f.Errorf("tearing down: %v", err)
			}
		}
	}
}

// startAgent starts an agent whose webhook listens on the address, and waits until the API server calls it.
func (f *fixture) startAgent(address string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan error, 1)
	user := fmt.Sprintf("system:serviceaccount:%s:%s", f.namespace, api.Agent)
	options := agent.Options{
		REST:      shared.RESTConfigFor(user, "system:serviceaccounts", "system:serviceaccounts:"+f.namespace, "system:authenticated"),
		Namespace: f.namespace, WebhookListen: address, Identity: "test", Version: "test", Log: slog.New(slog.NewTextHandler(f.Output(), nil)), Catalog: plugins.Catalog,
		Lease: leader.Timing{Duration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond},
	}
	go func() { ended <- agent.Run(ctx, options) }()
	stopped := false
	f.stopAgent = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("the agent ended with: %v", err)
		}
	}
	f.Cleanup(f.stopAgent)
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		node, err := f.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && api.HasFinalizer(node), err
	})
	if err != nil {
		f.Fatalf("waiting until the API server calls the webhook: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// serve starts the dashboard with the rights of a client.
func (f *fixture) serve(client kubernetes.Interface) {
	page, err := dashboard.Listen(f.Context(), 0, &dashboard.Cluster{Client: client, Namespace: f.namespace, Context: "test", User: "tester", Now: time.Now}, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.page = page
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- page.Serve(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
}

// browser returns the path of Chromium, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Skip("chromium is not installed (Debian: apt-get install chromium), so nobody looks at the dashboard")
	return ""
}

// open logs in with a browser. It opens only this page, so it needs no sandbox, which root and many containers do not have.
func (f *fixture) open() {
	f.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(f.browser), chromedp.NoSandbox, chromedp.UserDataDir(f.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 900))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(f.Context()), options...)
	f.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocator)
	f.Cleanup(closeTab)
	f.tab = tab
	err := chromedp.Listen(tab, func(event any) {
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			f.complain(fmt.Sprintf("%+v", event.ExceptionDetails))
		case *log.EventEntryAdded:
			f.complain(event.Entry.Text)
		}
	})
	if err != nil {
		f.Fatalf("starting the browser: %v", err)
	}
	f.navigate(f.page.Link())
	f.awaitText("Overview") // The script of the login page has replaced it.
}

func (f *fixture) complain(text string) {
	select {
	case f.complaints <- text:
	default:
	}
}

// wantNoComplaint fails if the console of the browser has an error, such as a violation of the policy.
func (f *fixture) wantNoComplaint() {
	f.Helper()
	for {
		select {
		case text := <-f.complaints:
			f.Errorf("the browser says %s", text)
		default:
			return
		}
	}
}

// do runs one action in the browser.
func do[T any](f *fixture, action chromedp.Action[T]) T {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.tab, testTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		f.Fatalf("in the browser: %v", err)
	}
	return value
}

func (f *fixture) navigate(address string) {
	f.Helper()
	do(f, chromedp.Navigate(address))
}

// goTo opens a view.
func (f *fixture) goTo(view string) {
	f.Helper()
	do(f, chromedp.Navigate("http://"+f.page.Address()+"/#/"+view))
}

// awaitText waits until the page shows a text. It asks from outside: the policy of the page forbids what chromedp.Poll runs in it.
func (f *fixture) awaitText(text string) {
	f.Helper()
	var shown string
	err := wait.PollUntilContextTimeout(f.tab, 50*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		once, cancel := context.WithTimeout(ctx, 2*time.Second) // A page that is being replaced may never answer.
		defer cancel()
		now, err := chromedp.Run(once, chromedp.Evaluate[string]("document.body ? document.body.innerText : ''"))
		if err == nil {
			shown = now
		}
		return strings.Contains(shown, text), nil
	})
	if err != nil {
		f.Fatalf("waiting for %q: %v; the page shows\n%s", text, err, shown)
	}
}

func (f *fixture) text() string {
	f.Helper()
	return do(f, chromedp.Evaluate[string]("document.body.innerText"))
}

func (f *fixture) wantText(want bool, text string) {
	f.Helper()
	if shown := f.text(); strings.Contains(shown, text) != want {
		f.Errorf("%q, want it %t; the page shows\n%s", text, want, shown)
	}
}

// node creates a Node with the finalizer.
func (f *fixture) node(name string, labels map[string]string) *corev1.Node {
	f.Helper()
	node := cluster.MakeNode(name, labels)
	node.Finalizers = []string{api.Finalizer}
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), node, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

func (f *fixture) deleteNode(name string) {
	f.Helper()
	if err := f.client.CoreV1().Nodes().Delete(f.Context(), name, metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
}
