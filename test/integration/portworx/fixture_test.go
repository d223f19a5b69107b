package portworx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
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
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/portworx"
)

// quick is a clock whose timers end early, because the plugin waits 20 seconds between two reads.
type quick struct{ clock.RealClock }

// NewTimer implements clock.WithTicker.
func (q quick) NewTimer(d time.Duration) clock.Timer {
	return q.RealClock.NewTimer(min(d, 50*time.Millisecond))
}

const (
	pollPeriod  = 50 * time.Millisecond
	testTimeout = time.Minute
)

// fixture is a Portworx cluster in a namespace.
type fixture struct {
	*portworxFake
	client    kubernetes.Interface
	namespace string

	mutex sync.Mutex
	said  []string
	// outcome replaces pxctl, if it is not nil.
	outcome func(ctx context.Context, pod *corev1.Pod) (code int32, message string)
	running map[types.UID]context.CancelFunc
	ended   sync.WaitGroup
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{portworxFake: startPortworx(t), client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "px-" + rand.String(5), running: map[types.UID]context.CancelFunc{}}
	f.must(f.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}, metav1.CreateOptions{}))
	f.serveStorageNodes()
	f.eventually("the namespace has a ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ServiceAccounts(f.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	// Kubernetes deletes Pods that are bound to a Node that does not exist.
	f.k8sNode(f.namespace + "-kubelet")
	f.play(f.operate)
	f.play(f.runPods)
	return f
}

// three adds three Nodes with Portworx. It returns the ids of their nodes in the Portworx cluster.
func (f *fixture) three() (a, b, c string) {
	for _, id := range []string{"a", "b", "c"} {
		f.node(id)
	}
	return f.id("a"), f.id("b"), f.id("c")
}

func (f *fixture) id(short string) string   { return "id-" + f.name(short) }
func (f *fixture) name(short string) string { return f.namespace + "-" + short }

// node adds a Node with Portworx.
func (f *fixture) node(short string) *corev1.Node {
	f.Helper()
	node := f.k8sNode(f.name(short))
	f.set(func() { f.nodes["id-"+node.Name] = &pxNode{name: node.Name, status: "STATUS_OK"} })
	return node
}

// k8sNode creates a Node that is ready.
func (f *fixture) k8sNode(name string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	f.must(node, err)
	f.T.Cleanup(func() {
		if err := f.client.CoreV1().Nodes().Delete(context.WithoutCancel(f.Context()), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			f.Error(err)
		}
	})
	f.ready(name, corev1.ConditionTrue)
	return f.live(name)
}

func (f *fixture) ready(name string, status corev1.ConditionStatus) {
	f.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}]}}`, status)
	f.must(f.client.CoreV1().Nodes().Patch(f.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"))
}

func (f *fixture) live(name string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Get(f.Context(), name, metav1.GetOptions{})
	f.must(node, err)
	return node
}

// hostDies ends Portworx and the kubelet of a host.
func (f *fixture) hostDies(short string) {
	f.Helper()
	f.ready(f.name(short), corev1.ConditionUnknown)
	f.set(func() { f.nodes[f.id(short)].dead = true })
}

func (f *fixture) must(_ any, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) eventually(what string, holds func(context.Context) (bool, error)) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), pollPeriod, testTimeout, true, holds); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
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
	f.T.Cleanup(func() {
		stop()
		ended.Wait()
		f.ended.Wait()
	})
}

const storageNodes = "/apis/core.libopenstorage.org/v1/namespaces/%s/storagenodes"

// serveStorageNodes makes a minimal CRD of StorageNodes.
func (f *fixture) serveStorageNodes() {
	f.Helper()
	rest := f.client.CoreV1().RESTClient()
	definition := `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "storagenodes.core.libopenstorage.org"}, "spec": {
		"group": "core.libopenstorage.org", "scope": "Namespaced", "names": {"plural": "storagenodes", "singular": "storagenode", "kind": "StorageNode"},
		"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`
	err := rest.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Body([]byte(definition)).SetHeader("Content-Type", "application/json").Do(f.Context()).Error()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	f.eventually("StorageNodes are served", func(ctx context.Context) (bool, error) {
		return rest.Get().AbsPath(fmt.Sprintf(storageNodes, f.namespace)).Do(ctx).Error() == nil, nil
	})
}

// operate plays the Pods of Portworx, which react to the labels of their Node, and the operator, which reports the KVDB.
func (f *fixture) operate(ctx context.Context) error {
	f.portworxFake.mutex.Lock()
	defer f.portworxFake.mutex.Unlock()
	for id, one := range f.nodes {
		node, err := f.client.CoreV1().Nodes().Get(ctx, one.name, metav1.GetOptions{})
		if err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return err
		}
		enabled := node.Labels["px/enabled"]
		switch {
		case one.dead:
			one.status = "STATUS_OFFLINE"
		case one.slow:
		case enabled == "remove":
			patch := []byte(`{"metadata":{"labels":{"px/enabled":"false"}}}`)
			if _, err := f.client.CoreV1().Nodes().Patch(ctx, one.name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				return err
			}
			one.status = "STATUS_OFFLINE"
		case enabled == "false" || node.Labels["px/service"] == "stop":
			one.status = "STATUS_OFFLINE"
		default:
			one.status = "STATUS_OK"
		}
		if err := f.storageNode(ctx, one.name, id, one.kvdb); err != nil {
			return err
		}
	}
	f.tick()
	return nil
}

// storageNode writes the StorageNode of a Node, as the operator does.
func (f *fixture) storageNode(ctx context.Context, name, id string, kvdb bool) error {
	conditions := []map[string]string{{"type": "NodeState", "status": "Online"}}
	if kvdb {
		conditions = append(conditions, map[string]string{"type": "NodeKVDB", "status": "Online", "message": "node is kvdb follower listening on 10.0.0.1"})
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "core.libopenstorage.org/v1", "kind": "StorageNode", "metadata": map[string]any{"name": name},
		"status": map[string]any{"nodeUid": id, "conditions": conditions},
	})
	if err != nil {
		return err
	}
	rest, path := f.client.CoreV1().RESTClient(), fmt.Sprintf(storageNodes, f.namespace)
	err = rest.Patch(types.MergePatchType).AbsPath(path, name).Body(object).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		err = rest.Post().AbsPath(path).Body(object).SetHeader("Content-Type", "application/json").Do(ctx).Error()
	}
	return err
}

func (f *fixture) options() string {
	return fmt.Sprintf(`{"namespace": %q, "image": "busybox", "url": %q, "token": {"secretKeyRef": {"name": "px", "key": "token"}}}`, f.namespace, f.gateway.URL)
}

// Secret implements cleanup.Secrets.
func (f *fixture) Secret(context.Context, cleanup.SecretKey) (string, error) { return token, nil }

// descriptor returns the plugin with the rights that it asks for, and no others.
func (f *fixture) descriptor() cleanup.Descriptor {
	f.Helper()
	bound, faults := portworx.Descriptor(nil, nil, nil, nil, "").Bind([]byte(f.options()))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	user := "agent-" + rand.String(8)
	config, err := shared.RESTConfigWith(f.Context(), user, bound.(cleanup.NamespaceRuleRequirer).NamespaceRules())
	f.must(config, err)
	meta := metav1.ObjectMeta{Name: user}
	f.must(f.client.RbacV1().ClusterRoles().Create(f.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: bound.(cleanup.RuleRequirer).Rules()}, metav1.CreateOptions{}))
	f.must(f.client.RbacV1().ClusterRoleBindings().Create(f.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{}))
	client := kubernetes.NewForConfigOrDie(config)
	f.eventually("the user has its rights", func(ctx context.Context) (bool, error) {
		_, nodeErr := client.CoreV1().Nodes().Get(ctx, f.namespace+"-kubelet", metav1.GetOptions{})
		_, jobErr := client.BatchV1().Jobs(f.namespace).List(ctx, metav1.ListOptions{})
		return nodeErr == nil && jobErr == nil, nil
	})
	return portworx.Descriptor(client, &http.Client{}, f, quick{}, "")
}

func (f *fixture) step() cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor().Bind([]byte(f.options()))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

var began = time.Now().Truncate(time.Second)

func (f *fixture) target(short string) cleanup.Target {
	node := f.live(f.name(short))
	return cleanup.Target{
		Node: node, Step: "portworx", Attempt: 1, Began: began, IdempotencyKey: string(node.UID) + "/portworx", Log: slog.New(slog.NewTextHandler(f.Output(), nil)),
		Progress: func(text string) {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			if len(f.said) == 0 || f.said[len(f.said)-1] != text {
				f.said = append(f.said, text)
			}
		},
	}
}

// says waits until the progress contains the text.
func (f *fixture) says(text string) {
	f.Helper()
	f.eventually("the progress contains "+text, func(context.Context) (bool, error) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		return slices.ContainsFunc(f.said, func(one string) bool { return strings.Contains(one, text) }), nil
	})
}

// inOrder reports whether the progress had these texts in this order.
func (f *fixture) inOrder(texts ...string) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, one := range f.said {
		if len(texts) > 0 && strings.Contains(one, texts[0]) {
			texts = texts[1:]
		}
	}
	return len(texts) == 0
}

// kvdbIsReported waits until the StorageNode of a Node says that it is a member of the KVDB.
func (f *fixture) kvdbIsReported(short string) {
	f.Helper()
	f.eventually("the operator reports the KVDB", func(ctx context.Context) (bool, error) {
		data, err := f.client.CoreV1().RESTClient().Get().AbsPath(fmt.Sprintf(storageNodes, f.namespace), f.name(short)).Do(ctx).Raw()
		return err == nil && strings.Contains(string(data), "NodeKVDB"), nil
	})
}
