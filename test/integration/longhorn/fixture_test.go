package longhorn_test

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/longhorn"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

// fixture is a namespace with Longhorn, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	objects   dynamic.Interface
	server    *cluster.Cluster
	namespace string
	user      string
	clock     *clocktesting.FakeClock
	began     time.Time
	progress  chan string
}

func setUp(t *testing.T) *fixture {
	return setUpOn(t, shared, "nodes", "replicas", "volumes", "backingimages", "shards")
}

// setUpOn sets up Longhorn with these resources.
func setUpOn(t *testing.T, server *cluster.Cluster, resources ...string) *fixture {
	t.Helper()
	f := &fixture{
		T: t, server: server, client: kubernetes.NewForConfigOrDie(server.RESTConfig()), objects: dynamic.NewForConfigOrDie(server.RESTConfig()),
		namespace: "longhorn-" + rand.String(5), began: time.Now(), progress: make(chan string, 1000),
	}
	f.user, f.clock = f.namespace, clocktesting.NewFakeClock(f.began)
	if _, err := f.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources {
		f.serve(resource)
	}
	f.allow()
	return f
}

// allow gives the plugin the rights that it asks for, and no others.
func (f *fixture) allow() {
	f.Helper()
	plugin := f.bind(`{}`)
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Name: f.user}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: f.user}}
	meta := metav1.ObjectMeta{Name: f.user}
	ctx, rbac := f.Context(), f.client.RbacV1()
	_, err := rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: plugin.(cleanup.RuleRequirer).Rules()}, metav1.CreateOptions{})
	f.no(err)
	role.Kind = "ClusterRole"
	_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: role, Subjects: subjects}, metav1.CreateOptions{})
	f.no(err)
	_, err = rbac.Roles(f.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: plugin.(cleanup.NamespaceRuleRequirer).NamespaceRules()[f.namespace]}, metav1.CreateOptions{})
	f.no(err)
	role.Kind = "Role"
	_, err = rbac.RoleBindings(f.namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: role, Subjects: subjects}, metav1.CreateOptions{})
	f.no(err)
	f.eventually("the plugin may read Longhorn's nodes", func(ctx context.Context) (bool, error) {
		_, err := dynamic.NewForConfigOrDie(f.server.RESTConfigFor(f.user)).Resource(gvr("nodes")).Namespace(f.namespace).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
}

func (f *fixture) no(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) eventually(what string, holds func(context.Context) (bool, error)) {
	f.Helper()
	if err := wait.PollUntilContextTimeout(f.Context(), 20*time.Millisecond, testTimeout, true, holds); err != nil {
		f.Fatalf("waiting until %s: %v", what, err)
	}
}

// descriptor describes the plugin with a client like the agent's, which prefers Protobuf.
func (f *fixture) descriptor() cleanup.Descriptor {
	rest := f.server.RESTConfigFor(f.user)
	rest.ContentType = runtime.ContentTypeProtobuf
	rest.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rest.QPS = -1
	return longhorn.Descriptor(kubernetes.NewForConfigOrDie(rest), f.clock)
}

// options adds the namespace to options.
func (f *fixture) options(options string) string {
	return strings.Replace(strings.Replace(options, "{", `{"namespace":"`+f.namespace+`",`, 1), ",}", "}", 1)
}

func (f *fixture) bind(options string) cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor().Bind([]byte(f.options(options)))
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

func (f *fixture) target(node *corev1.Node) cleanup.Target {
	return cleanup.Target{
		Node: node, Step: "longhorn", Attempt: 1, Began: f.began, IdempotencyKey: string(node.UID) + "/longhorn",
		Log: slog.New(slog.DiscardHandler), Progress: func(text string) { f.progress <- text },
	}
}

// awaitProgress waits until the plugin says something with that text in it. The time of the plugin passes in the meantime.
func (f *fixture) awaitProgress(text string) {
	f.Helper()
	said := ""
	f.Cleanup(func() {
		if f.Failed() {
			f.Logf("the plugin said last: %s", said)
		}
	})
	f.eventually("the plugin says "+text, func(context.Context) (bool, error) {
		f.passTime(10 * time.Second)
		for {
			select {
			case said = <-f.progress:
				if strings.Contains(said, text) {
					return true, nil
				}
			default:
				return false, nil
			}
		}
	})
}

// passTime lets time pass if the plugin waits.
func (f *fixture) passTime(of time.Duration) {
	if f.clock.HasWaiters() {
		f.clock.Step(of)
	}
}

// start begins a cleanup, and returns a function that waits for its end while the time of the plugin passes.
func (f *fixture) start(plugin cleanup.Plugin, target cleanup.Target) (end func() error) {
	ctx, cancel := context.WithCancel(f.Context())
	f.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(ctx, target) }()
	return func() (err error) {
		f.Helper()
		f.eventually("the cleanup ends", func(context.Context) (bool, error) {
			f.passTime(10 * time.Second)
			select {
			case err = <-ended:
				return true, nil
			default:
				return false, nil
			}
		})
		return err
	}
}

func gvr(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "longhorn.io", Version: "v1beta2", Resource: resource}
}

func (f *fixture) resource(resource string) dynamic.ResourceInterface {
	return f.objects.Resource(gvr(resource)).Namespace(f.namespace)
}

// kinds are the kinds of Longhorn's resources.
var kinds = map[string]string{"nodes": "Node", "replicas": "Replica", "volumes": "Volume", "backingimages": "BackingImage", "shards": "Shard"}

// serve creates a minimal CRD, unless there is one.
func (f *fixture) serve(resource string) {
	f.Helper()
	serving.Lock()
	defer serving.Unlock()
	crds := f.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	name := resource + ".longhorn.io"
	if _, err := crds.Get(f.Context(), name, metav1.GetOptions{}); err != nil {
		_, err := crds.Create(f.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name},
			"spec": map[string]any{
				"group": "longhorn.io", "scope": "Namespaced",
				"names": map[string]any{"plural": resource, "singular": strings.TrimSuffix(resource, "s"), "kind": kinds[resource], "listKind": kinds[resource] + "List"},
				"versions": []any{map[string]any{
					"name": "v1beta2", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
					"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
				}},
			},
		}}, metav1.CreateOptions{})
		f.no(err)
	}
	f.eventually(name+" is served", func(ctx context.Context) (bool, error) {
		_, err := f.resource(resource).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
}

var serving sync.Mutex

// object is a Longhorn object with a spec and a status.
func (f *fixture) create(resource, name string, labels map[string]string, spec, status map[string]any) *unstructured.Unstructured {
	f.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "longhorn.io/v1beta2", "kind": kinds[resource], "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	object.SetLabels(labels)
	created, err := f.resource(resource).Create(f.Context(), object, metav1.CreateOptions{})
	f.no(err)
	if status != nil {
		f.setStatus(resource, name, status)
	}
	return created
}

func (f *fixture) setStatus(resource, name string, status map[string]any) {
	f.Helper()
	f.change(resource, name, func(object map[string]any) { object["status"] = status }, "status")
}

// change changes an object.
func (f *fixture) change(resource, name string, change func(map[string]any), subresources ...string) {
	f.Helper()
	f.eventually("an object is changed", func(ctx context.Context) (bool, error) {
		object, err := f.resource(resource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		change(object.Object)
		_, err = f.resource(resource).Update(ctx, object, metav1.UpdateOptions{}, subresources...)
		if err != nil {
			f.Log(err)
		}
		return err == nil, nil
	})
}

// node creates a Node, and Longhorn's node with one disk.
func (f *fixture) node(name string) *corev1.Node {
	f.Helper()
	node := f.kubernetesNode(name)
	f.create("nodes", node.Name, nil, map[string]any{
		"name": node.Name, "allowScheduling": true, "evictionRequested": false, "disks": map[string]any{"disk": map[string]any{"path": "/var/lib/longhorn"}},
	}, status("True", nil, nil, "uuid-"+node.Name))
	return node
}

func (f *fixture) kubernetesNode(name string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), cluster.MakeNode(f.name(name), nil), metav1.CreateOptions{})
	f.no(err)
	return node
}

// name is the name of a Node of this test.
func (f *fixture) name(node string) string { return f.namespace + "-" + node }

// status is the status of a node with one disk.
func status(ready string, replicas, images []string, uuid string) map[string]any {
	sizes := func(names []string) map[string]any {
		all := map[string]any{}
		for _, name := range names {
			all[name] = int64(1 << 30)
		}
		return all
	}
	reason := ""
	if ready != "True" {
		reason = "KubernetesNodeNotReady"
	}
	return map[string]any{
		"conditions": []any{map[string]any{"type": "Ready", "status": ready, "reason": reason}},
		"diskStatus": map[string]any{"disk": map[string]any{"diskUUID": uuid, "scheduledReplica": sizes(replicas), "scheduledBackingImage": sizes(images)}},
	}
}

// replica creates a healthy replica on a Node.
func (f *fixture) replica(volume, name string, on *corev1.Node, more map[string]any) {
	f.Helper()
	spec := map[string]any{"volumeName": volume, "nodeID": on.Name, "healthyAt": "2026-01-31T04:00:00Z", "lastHealthyAt": "2026-01-31T04:00:00Z", "failedAt": ""}
	maps.Copy(spec, more)
	f.create("replicas", name, map[string]string{"longhornnode": on.Name, "longhornvolume": volume}, spec, nil)
	f.refresh(on.Name)
}

// refresh updates the status of the disk of a node, as Longhorn's node controller does.
func (f *fixture) refresh(name string) {
	f.Helper()
	replicas, err := f.resource("replicas").List(f.Context(), metav1.ListOptions{LabelSelector: "longhornnode=" + name})
	f.no(err)
	scheduled := map[string]any{}
	for _, one := range replicas.Items {
		scheduled[one.GetName()] = int64(1 << 30)
	}
	f.change("nodes", name, func(object map[string]any) {
		f.no(unstructured.SetNestedMap(object, scheduled, "status", "diskStatus", "disk", "scheduledReplica"))
	}, "status")
}

// move moves a replica to another Node: Longhorn creates a new one there, and deletes the old one.
func (f *fixture) move(volume, name string, from, to *corev1.Node) {
	f.Helper()
	f.replica(volume, name+"-moved", to, nil)
	f.no(f.resource("replicas").Delete(f.Context(), name, metav1.DeleteOptions{}))
	f.refresh(from.Name)
}

// down makes Longhorn's node not ready.
func (f *fixture) down(node *corev1.Node) {
	f.Helper()
	f.change("nodes", node.Name, func(object map[string]any) {
		object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Ready", "status": "False", "reason": "KubernetesNodeNotReady"}}
	}, "status")
}

// spec returns whether Longhorn may place replicas on the node, and whether they are to be moved away.
func (f *fixture) spec(node *corev1.Node) (allowScheduling, evictionRequested bool) {
	f.Helper()
	object, err := f.resource("nodes").Get(f.Context(), node.Name, metav1.GetOptions{})
	f.no(err)
	spec := object.Object["spec"].(map[string]any)
	return spec["allowScheduling"].(bool), spec["evictionRequested"].(bool)
}

// setSpec is what an operator does.
func (f *fixture) setSpec(node *corev1.Node, allowScheduling, evictionRequested bool) {
	f.Helper()
	f.change("nodes", node.Name, func(object map[string]any) {
		spec := object["spec"].(map[string]any)
		spec["allowScheduling"], spec["evictionRequested"] = allowScheduling, evictionRequested
	})
}

func (f *fixture) isSpec(node *corev1.Node, allowScheduling, evictionRequested bool) {
	f.Helper()
	if scheduling, evicting := f.spec(node); scheduling != allowScheduling || evicting != evictionRequested {
		f.Errorf("allowScheduling is %t and evictionRequested %t, want %t and %t", scheduling, evicting, allowScheduling, evictionRequested)
	}
}
