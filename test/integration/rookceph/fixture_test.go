package rookceph_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	rookceph "github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/rook-ceph"
)

const pollPeriod = 100 * time.Millisecond

// fixture is a Ceph, and a namespace in which Rook seems to run it.
type fixture struct {
	*ceph
	client    kubernetes.Interface
	namespace string

	// containers are those of the Pods that runPods has started.
	containers map[types.UID]running

	mutex sync.Mutex
	// said are the texts of the progress.
	said []string
	// began are the phases whose script has been started.
	began []string
	// outcome replaces the script, if it is not nil: it returns the exit code and the termination message.
	outcome func(ctx context.Context, pod *corev1.Pod) (code int32, message string)
	// dead are the OSDs on a dead host: no kubelet starts them again.
	dead map[int]bool
}

func setUp(t *testing.T, copies int) *fixture {
	t.Helper()
	f := newFixture(t, startCeph(t, copies))
	f.secret("nodecleanup-ceph", "key", f.user())
	for id := range osdCount {
		f.deployment(id, f.uuids[id])
	}
	f.play(f.operate)
	f.play(f.runPods)
	return f
}

// newFixture makes the namespace of a Ceph.
func newFixture(t *testing.T, c *ceph) *fixture {
	t.Helper()
	f := &fixture{ceph: c, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "rook-" + rand.String(5), dead: map[int]bool{}, containers: map[types.UID]running{}}
	f.must(f.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}, metav1.CreateOptions{}))
	// Kubernetes deletes Pods that are bound to a Node that does not exist.
	if _, err := f.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: kubeletNode}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	f.secret("rook-ceph-config", "mon_host", f.monitors)
	f.cephCluster(`{"health": "HEALTH_OK"}`)
	f.eventually("the namespace has a ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ServiceAccounts(f.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	return f
}

// play calls the function again and again until the test ends.
func (f *fixture) play(role func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	var ended sync.WaitGroup
	ended.Go(func() {
		err := wait.PollUntilContextCancel(ctx, pollPeriod, true, func(ctx context.Context) (bool, error) { return false, role(ctx) })
		if ctx.Err() == nil {
			f.Error(err)
		}
	})
	f.Cleanup(func() {
		stop()
		ended.Wait()
	})
}

// must ends the test if a request has failed.
func (f *fixture) must(_ any, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) eventually(what string, holds func(context.Context) (bool, error)) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), pollPeriod, cephTimeout, true, holds); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}

func (f *fixture) secret(name, key, value string) {
	f.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{key: value}}
	f.must(f.client.CoreV1().Secrets(f.namespace).Create(f.Context(), secret, metav1.CreateOptions{}))
}

// user creates the Ceph user with the command in the README, and returns its key.
func (f *fixture) user() string {
	f.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "plugins", "rook-ceph", "README.md"))
	if err != nil {
		f.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```\nceph auth get-or-create ")
	block, _, ends := strings.Cut(block, "```")
	if !found || !ends {
		f.Fatal("the README has no command that creates the user")
	}
	var arguments []string
	for i, part := range strings.Split(strings.ReplaceAll(block, "\\\n", " "), "'") {
		if i%2 == 1 { // Between quotes.
			arguments = append(arguments, part)
		} else {
			arguments = append(arguments, strings.Fields(part)...)
		}
	}
	f.admin(append([]string{"auth", "get-or-create"}, arguments...)...)
	return strings.TrimSpace(f.admin("auth", "get-key", arguments[0]))
}

// cephCluster makes the CephCluster with that status of Ceph, as Rook's operator reports it.
func (f *fixture) cephCluster(status string) {
	f.Helper()
	rest := f.client.CoreV1().RESTClient()
	definition := `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "cephclusters.ceph.rook.io"}, "spec": {
		"group": "ceph.rook.io", "scope": "Namespaced", "names": {"plural": "cephclusters", "singular": "cephcluster", "kind": "CephCluster"},
		"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`
	err := rest.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Body([]byte(definition)).SetHeader("Content-Type", "application/json").Do(f.Context()).Error()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	object := fmt.Sprintf(`{"apiVersion": "ceph.rook.io/v1", "kind": "CephCluster", "metadata": {"name": "rook-ceph"}, "status": {"ceph": %s}}`, status)
	clusters := "/apis/ceph.rook.io/v1/namespaces/" + f.namespace + "/cephclusters"
	f.eventually("the CephCluster is there", func(ctx context.Context) (bool, error) {
		err := rest.Delete().AbsPath(clusters, "rook-ceph").Do(ctx).Error()
		if err == nil || apierrors.IsNotFound(err) {
			err = rest.Post().AbsPath(clusters).Body([]byte(object)).SetHeader("Content-Type", "application/json").Do(ctx).Error()
		}
		return err == nil, nil // The API server serves a new definition with a delay.
	})
}

// deployment makes the Deployment of an OSD on the Node with the same number, as Rook does.
func (f *fixture) deployment(id int, uuid string) {
	f.Helper()
	f.deploymentOn(fmt.Sprint("node-", id), id, uuid)
}

func (f *fixture) deploymentOn(node string, id int, uuid string) {
	f.Helper()
	labels := map[string]string{"app": "rook-ceph-osd", "ceph-osd-id": strconv.Itoa(id), "portable": "false", "topology-location-host": fmt.Sprint("host", id)}
	f.must(f.client.AppsV1().Deployments(f.namespace).Create(f.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("rook-ceph-osd-", id), Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				NodeSelector: map[string]string{corev1.LabelHostname: node},
				Containers: []corev1.Container{{Name: "osd", Image: "quay.io/ceph/ceph:v19", Env: []corev1.EnvVar{
					{Name: "ROOK_OSD_UUID", Value: uuid}, {Name: "ROOK_OSD_ID", Value: strconv.Itoa(id)},
				}}},
			}},
		},
	}, metav1.CreateOptions{}))
}

// osdDeployments returns the Deployments of OSDs, by the id of the OSD.
func (f *fixture) osdDeployments(ctx context.Context) (map[int]appsv1.Deployment, error) {
	list, err := f.client.AppsV1().Deployments(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=rook-ceph-osd"})
	if err != nil {
		return nil, err
	}
	found := map[int]appsv1.Deployment{}
	for _, deployment := range list.Items {
		id, err := strconv.Atoi(deployment.Labels["ceph-osd-id"])
		if err != nil {
			return nil, err
		}
		found[id] = deployment
	}
	return found, nil
}

// operate plays Rook's operator, which scales each Deployment of an OSD to 1 unless a label forbids it, and the
// kubelets of the OSDs.
func (f *fixture) operate(ctx context.Context) error {
	deployments, err := f.osdDeployments(ctx)
	if err != nil {
		return err
	}
	for id, deployment := range deployments {
		if deployment.Spec.Template.Spec.Containers[0].Env[0].Value != f.uuids[id] {
			continue // No disk has this OSD.
		}
		wanted := *deployment.Spec.Replicas
		if wanted == 0 && deployment.Labels["ceph.rook.io/do-not-reconcile"] == "" {
			_, err := f.client.AppsV1().Deployments(f.namespace).Patch(ctx, deployment.Name, types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			wanted = 1
		}
		if wanted == 0 || f.isDead(id) {
			err = f.stop(ctx, id)
		} else {
			err = f.resume(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step returns the plugin.
func (f *fixture) step(options string) cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor(options).Bind([]byte(options))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

// descriptor returns the plugin with the rights that these options need, and no others.
func (f *fixture) descriptor(options string) cleanup.Descriptor {
	f.Helper()
	bound, faults := rookceph.Descriptor(nil, nil, "").Bind([]byte(options))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	rights := bound.(cleanup.NamespaceRuleRequirer).NamespaceRules()
	rights[""] = bound.(cleanup.RuleRequirer).Rules()
	config, err := shared.RESTConfigWith(f.Context(), "agent-"+rand.String(8), rights)
	if err != nil {
		f.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	f.eventually("the user has its rights", func(ctx context.Context) (bool, error) {
		_, deployments := client.AppsV1().Deployments(f.namespace).List(ctx, metav1.ListOptions{})
		_, nodes := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
		return deployments == nil && nodes == nil, nil
	})
	return rookceph.Descriptor(client, clock.RealClock{}, "")
}

func (f *fixture) options() string { return fmt.Sprintf(`{"namespace": %q}`, f.namespace) }

var began = time.Now().Truncate(time.Second)

// target is the Node of an OSD. No object of it is needed.
func (f *fixture) target(id int) cleanup.Target {
	name := fmt.Sprint("node-", id)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{corev1.LabelHostname: name}}}
	return cleanup.Target{
		Node: node, Step: "ceph", Attempt: 1, Began: began, IdempotencyKey: string(node.UID) + "/ceph",
		Log: slog.New(slog.NewTextHandler(f.Output(), nil)),
		Progress: func(text string) {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			f.said = append(f.said, text)
		},
	}
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// hostDies ends the OSD of a host for good.
func (f *fixture) hostDies(id int) {
	f.Helper()
	f.mutex.Lock()
	f.dead[id] = true
	f.mutex.Unlock()
	f.eventually("the OSD is down", func(ctx context.Context) (bool, error) {
		current, err := f.state(ctx)
		return err == nil && !current.Up[id], err
	})
}

func (f *fixture) isDead(id int) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.dead[id]
}
