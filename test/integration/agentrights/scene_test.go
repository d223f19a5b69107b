package agentrights_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	published "github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// scene is an install with something for every right to do.
type scene struct {
	*testing.T
	server  *cluster.Cluster
	client  kubernetes.Interface
	webhook string
	// inventory refuses while it is full, so that a step fails and is tried again.
	inventory *httptest.Server
	full      atomic.Bool
	// config of the agent, without its header.
	config string
}

// setUp installs a config whose steps use every right.
func setUp(t *testing.T, server *cluster.Cluster) *scene {
	s := start(t, server)
	s.config = fmt.Sprintf(`history: {maxRuns: 1}
guard: {lastSchedulable: refuse, criticalPods: [{namespaces: [kube-system]}]}
retry: {maxRetries: 100, initialDelay: 100ms, maxDelay: 200ms, jitter: 0}
steps:
`+longhornStep+`- {name: drain, plugin: drain, dependsOn: [longhorn], options: {allowUnmanaged: true}}
- {name: volumes, plugin: volumes, dependsOn: [drain]}
- name: inventory
  plugin: http
  dependsOn: [volumes]
  options: {url: %q, headers: {Authorization: {secretKeyRef: {name: inventory, key: token}}}}
`, s.inventory.URL) + jobStep + allowJobs
	s.prepareJobs()
	s.prepareLonghorn()
	s.install()
	if _, err := s.client.CoreV1().Secrets(api.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"token": "t"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, server *cluster.Cluster) *scene {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{T: t, server: server, client: kubernetes.NewForConfigOrDie(server.RESTConfig()), webhook: listener.Addr().String()}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s.inventory = httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		if s.full.Load() {
			http.Error(writer, "full", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.inventory.Close)
	return s
}

// install installs the config and the rights that it needs.
func (s *scene) install() {
	s.Helper()
	if _, err := (install.Applier{Objects: dynamic.NewForConfigOrDie(s.server.RESTConfig())}).Apply(s.Context(), s.options()); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) options() install.Options {
	s.Helper()
	text := []byte("apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nnodeSelector: {matchLabels: {pool: own}}\n" + s.config)
	settings, err := config.Parse(text, plugins.Catalog(plugins.Dependencies{}))
	if err != nil {
		s.Fatal(err)
	}
	return install.Options{AgentURL: "https://" + s.webhook, Config: text, StepRules: access.OfConfig(settings)}
}

func (s *scene) liveThroughEverything() {
	s.Helper()
	ctx := s.Context()
	s.create("staying")
	s.eventually("the guard refuses the deletion of the only node", func(ctx context.Context) (bool, error) {
		err := s.client.CoreV1().Nodes().Delete(ctx, "staying", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), ignoreForbidden(err)
	})
	// The same denial twice is one Event about a Node that is counted.
	for range 2 {
		if err := s.client.CoreV1().Nodes().Delete(ctx, "staying", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			s.Fatalf("deleting the only node: the answer is %v", err)
		}
	}
	s.create("first")
	s.attach("first")
	s.delete("first")
	s.eventually("the volume of node first is waited for", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Get(ctx, "first", metav1.GetOptions{})
		return err == nil && api.CleanupConditionOf(node) != nil, err
	})
	if err := s.client.StorageV1().VolumeAttachments().Delete(ctx, "csi-data", metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	s.isDeleted("first")

	// A second one makes the record of the first one too many.
	s.create("second")
	if _, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, cluster.MakePod(metav1.NamespaceDefault, "moved", "second"), metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.createWithResponder("answered", "second")
	s.blockByBudget("moved")
	resume := s.terminate("second") // Its controller, which counts for budgets too, is paused.
	s.full.Store(true)
	s.delete("second")
	s.eventually("the drain of node second waits for the terminating namespace and for the budget", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Get(ctx, "second", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		cleanup := api.CleanupConditionOf(node)
		return cleanup != nil && strings.Contains(cleanup.Message, "namespace "+terminating+" is terminating") &&
			strings.Contains(cleanup.Message, "disruption budget moved"), nil
	})
	s.failEvictionRequests()
	resume()
	if err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Delete(ctx, "moved", metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("the inventory refuses node second", func(ctx context.Context) (bool, error) {
		events, err := s.client.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=second,type=Warning"})
		return err == nil && len(events.Items) > 0, err
	})
	s.full.Store(false)
	s.isDeleted("second")

	// Whether the name of the operator is verified is on the record.
	s.create("bypassed")
	bypass := []byte(`{"metadata":{"annotations":{"` + api.AnnotationBypass + `":"true","` + api.AnnotationBypassBy + `":"admin"}}}`)
	if _, err := s.client.CoreV1().Nodes().Patch(ctx, "bypassed", types.MergePatchType, bypass, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
	s.delete("bypassed")
	s.isDeleted("bypassed")

	s.runJobs()
	s.evictReplicas()

	rotate := []byte(`{"metadata":{"annotations":{"` + api.AnnotationRotate + `":"now"}}}`)
	if _, err := s.client.CoreV1().Secrets(api.Namespace).Patch(ctx, api.CASecretName, types.MergePatchType, rotate, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
	// The same fault twice is one Event that is counted.
	for range 2 {
		s.configure("steps: none")
		s.eventually("the config is refused", func(ctx context.Context) (bool, error) {
			status, err := published.AgentStatus(ctx, s.client, api.Namespace)
			return err == nil && status != nil && status.ConfigError != "", err
		})
		s.configure(string(s.options().Config))
		s.eventually("the config is active again", func(ctx context.Context) (bool, error) {
			status, err := published.AgentStatus(ctx, s.client, api.Namespace)
			return err == nil && status != nil && status.ConfigError == "", err
		})
	}

	ask := []byte(`{"metadata":{"annotations":{"` + api.AnnotationPreflightRequestedAt + `":"2026-01-31T04:00:00Z"}}}`)
	s.eventually("the agent's status can be asked for", func(ctx context.Context) (bool, error) {
		_, err := s.client.CoreV1().ConfigMaps(api.Namespace).Patch(ctx, api.StatusName, types.MergePatchType, ask, metav1.PatchOptions{})
		return err == nil, nil
	})
}

// createWithResponder creates a Pod that is evicted by an EvictionRequest if the API server serves
// these. Other API servers ignore the responder.
func (s *scene) createWithResponder(name, node string) {
	s.Helper()
	pod := cluster.MakePod(metav1.NamespaceDefault, name, node)
	pod.Spec.EvictionResponders = []corev1.EvictionResponder{{Name: "db.example.com/operator", Priority: new(int32(10000))}}
	if _, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(s.Context(), pod, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// failEvictionRequests fails the EvictionRequests, as their controller does if no responder is left.
func (s *scene) failEvictionRequests() {
	s.Helper()
	requests := s.client.LifecycleV1alpha1().EvictionRequests(metav1.NamespaceDefault)
	list, err := requests.List(s.Context(), metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return // The older API server has none.
	case err != nil:
		s.Fatal(err)
	case len(list.Items) != 1:
		s.Fatalf("%d EvictionRequests, want 1", len(list.Items))
	}
	list.Items[0].Status.Conditions = []metav1.Condition{{
		Type: string(lifecyclev1alpha1.EvictionConditionFailed), Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: string(lifecyclev1alpha1.EvictionConditionReasonNoFurtherResponder),
	}}
	if _, err := requests.UpdateStatus(s.Context(), &list.Items[0], metav1.UpdateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// terminating is a namespace that is deleted.
const terminating = "leaving"

// terminate creates that namespace with a Pod on the Node and deletes it, while the namespace
// controller is paused. It returns a function that resumes the controller.
func (s *scene) terminate(node string) (resume func()) {
	s.Helper()
	ctx := s.Context()
	if _, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: terminating}}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("a Pod may be created in the namespace", func(ctx context.Context) (bool, error) {
		_, err := s.client.CoreV1().Pods(terminating).Create(ctx, cluster.MakePod(terminating, "leaving", node), metav1.CreateOptions{})
		return err == nil, nil // It has no service account yet.
	})
	manager := s.server.Component(cluster.ControllerManager)
	if err := manager.Pause(); err != nil {
		s.Fatal(err)
	}
	resume = func() {
		if err := manager.Resume(); err != nil {
			s.Error(err)
		}
	}
	s.Cleanup(resume)
	if err := s.client.CoreV1().Namespaces().Delete(ctx, terminating, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	return resume
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

func (s *scene) configure(config string) {
	s.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{api.ConfigKey: config}})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.client.CoreV1().ConfigMaps(api.Namespace).Patch(s.Context(), api.ConfigName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

// create makes a Node that the agent protects.
func (s *scene) create(name string) {
	s.Helper()
	ctx := s.Context()
	if _, err := s.client.CoreV1().Nodes().Create(ctx, cluster.MakeNode(name, own()), metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("node "+name+" is protected", func(ctx context.Context) (bool, error) {
		node, err := s.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err == nil && api.HasFinalizer(node), err
	})
}

func (s *scene) delete(name string) {
	s.Helper()
	if err := s.client.CoreV1().Nodes().Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
}

// blockByBudget creates a budget that blocks the Pod's eviction, and waits until its status is
// computed.
func (s *scene) blockByBudget(pod string) {
	s.Helper()
	one := intstr.FromInt32(1)
	if _, err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Create(s.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: pod},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": pod}}},
	}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.eventually("the budget has counted pod "+pod, func(ctx context.Context) (bool, error) {
		budget, err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Get(ctx, pod, metav1.GetOptions{})
		return err == nil && budget.Status.CurrentHealthy == 1, err
	})
}

// attach attaches a volume to a Node, and has a pod there that uses another.
func (s *scene) attach(node string) {
	s.Helper()
	ctx, volume, none := s.Context(), "data", ""
	if _, err := s.client.StorageV1().VolumeAttachments().Create(ctx, &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-data"},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: "csi.example.com", NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
	}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	if _, err := s.client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: "kept", StorageClassName: &none,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	labels := map[string]string{"app": "user"}
	set, err := s.client.AppsV1().DaemonSets(metav1.NamespaceDefault).Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "user"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: cluster.MakePod(metav1.NamespaceDefault, "user", "").Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	s.eventually("pods may be made", func(ctx context.Context) (bool, error) {
		pod := cluster.MakePod(metav1.NamespaceDefault, "user", node)
		// No drain moves it, so its volume is none to wait for.
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "user", UID: set.UID, Controller: new(true)}}
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		_, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
		return err == nil, nil // Its namespace has no service account yet.
	})
}
