package kind_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

const (
	// The environment names the cluster, and two images of the agent that its nodes have.
	kubeconfigVariable = "NODECLEANUP_KIND_KUBECONFIG"
	oldVariable        = "NODECLEANUP_KIND_OLD_IMAGE"
	newVariable        = "NODECLEANUP_KIND_NEW_IMAGE"

	// testTimeout is the time in which a busy CI machine can start two Pods.
	testTimeout = 3 * time.Minute
	settings    = `apiVersion: nodecleanup.io/v1alpha1
kind: Config
retry: {initialDelay: 1s, maxDelay: 5s}
steps:
- {name: drain, plugin: drain, critical: true, timeout: 2m}
- {name: volumes, plugin: volumes, critical: true, dependsOn: [drain]}
`
)

// fixture is a user's cluster.
type fixture struct {
	rest               *rest.Config
	client             kubernetes.Interface
	kubeconfig, config string
	// old and new are images of the agent.
	old, new string
	// pods is the namespace of the test's own Pods.
	pods string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{kubeconfig: os.Getenv(kubeconfigVariable), old: os.Getenv(oldVariable), new: os.Getenv(newVariable)}
	if f.kubeconfig == "" || f.old == "" || f.new == "" {
		t.Skip("skipped: it installs and uninstalls on a cluster, which make e2e-kind names")
	}
	var err error
	if f.rest, err = clientcmd.BuildConfigFromFlags("", f.kubeconfig); err != nil {
		t.Fatal(err)
	}
	f.rest.QPS, f.rest.Burst = 200, 200
	f.client = kubernetes.NewForConfigOrDie(f.rest)
	f.config = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(f.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	version, err := f.client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	t.Log("Kubernetes", version.GitVersion)
	// The test uninstalls everything at its end, and must not remove an install of the user.
	if _, err := f.client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the cluster has a namespace %s, which this test would remove: %v", api.Namespace, err)
	}
	namespace, err := f.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "nodecleanup-e2e-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.pods = namespace.Name
	t.Cleanup(f.clean(t))
	return f
}

// clean returns a function that removes all objects of a failed test.
func (f *fixture) clean(t *testing.T) func() {
	return func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			f.tell(ctx, t)
			f.execute(ctx, t, "uninstall", "--yes", "--force")
		}
		if err := f.client.CoreV1().Namespaces().Delete(ctx, f.pods, metav1.DeleteOptions{}); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
		if err := f.client.CoreV1().Nodes().Delete(ctx, fake, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("cleaning up: %v", err)
		}
	}
}

// nodecleanup runs a command and wants an exit code.
func (f *fixture) nodecleanup(t *testing.T, want int, arguments ...string) string {
	t.Helper()
	got, said := f.execute(t.Context(), t, arguments...)
	if got != want {
		t.Fatalf("exit code %d, want %d", got, want)
	}
	return said
}

func (f *fixture) execute(ctx context.Context, t *testing.T, arguments ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	code := exit.Code(ctx, cli.Execute(ctx, streams, append(arguments, "--kubeconfig", f.kubeconfig)))
	t.Logf("kubectl nodecleanup %s [exit %d]\n%s", strings.Join(arguments, " "), code, out.String())
	return code, out.String()
}

func (f *fixture) eventually(t *testing.T, what string, holds wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, testTimeout, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func (f *fixture) nodes(t *testing.T) []corev1.Node {
	t.Helper()
	list, err := f.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (f *fixture) agents(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := f.client.CoreV1().Pods(api.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.LabelNameValue})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

// wantAgents wants two that are ready and of an image.
func (f *fixture) wantAgents(t *testing.T, image string) {
	t.Helper()
	ready := 0
	for _, pod := range f.agents(t) {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.Spec.Containers[0].Image == image {
				ready++
			}
		}
	}
	if ready != 2 {
		t.Fatalf("%d agents of %s are ready, want 2", ready, image)
	}
}

// wantNothingLeft asks for every kind of object that the cluster has, whether one is of
// an install.
func (f *fixture) wantNothingLeft(t *testing.T) {
	t.Helper()
	if _, err := f.client.CoreV1().Namespaces().Get(t.Context(), api.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s is left: %v", api.Namespace, err)
	}
	kinds, err := f.client.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	objects, asked := metadata.NewForConfigOrDie(f.rest), 0
	for _, group := range kinds {
		for _, kind := range group.APIResources {
			if !slices.Contains(kind.Verbs, "list") {
				continue
			}
			version, err := schema.ParseGroupVersion(group.GroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			resource := version.WithResource(kind.Name)
			left, err := objects.Resource(resource).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=" + api.LabelNameValue})
			if err != nil {
				t.Errorf("asking for %s: %v", resource, err)
				continue
			}
			asked++
			for _, one := range left.Items {
				t.Errorf("%s %s/%s is left", kind.Name, one.Namespace, one.Name)
			}
		}
	}
	if asked == 0 {
		t.Error("the cluster has no kind of object that can be listed")
	}
}
