package volumes_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/volumes"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const testTimeout = 30 * time.Second

// detaching is the finalizer by which a CSI attacher holds a VolumeAttachment until it is
// detached.
const detaching = "external-attacher/csi-example-com"

// fixture is a node with volumes, for one test.
type fixture struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
	user      string
	progress  chan string
}

func setUp(t *testing.T) *fixture {
	f := &fixture{T: t, client: kubernetes.NewForConfigOrDie(shared.RESTConfig()), namespace: "volumes-" + rand.String(5), progress: make(chan string, 100)}
	f.user = f.namespace
	ctx := t.Context()
	if _, err := f.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The rights that the README lists, and no others.
	f.allow(
		rbacv1.PolicyRule{APIGroups: []string{"storage.k8s.io"}, Resources: []string{"volumeattachments"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"persistentvolumeclaims", "nodes"}, Verbs: []string{"get"}})
	return f
}

func (f *fixture) allow(rules ...rbacv1.PolicyRule) {
	f.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: f.user}, Rules: rules}
	if _, err := f.client.RbacV1().ClusterRoles().Create(f.Context(), role, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: f.user},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: f.user}},
	}
	if _, err := f.client.RbacV1().ClusterRoleBindings().Create(f.Context(), binding, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// awaitRight waits until the API server allows or denies the plugin to list VolumeAttachments.
func (f *fixture) awaitRight(ctx context.Context, want bool) {
	f.Helper()
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: f.user, ResourceAttributes: &authorizationv1.ResourceAttributes{Group: "storage.k8s.io", Resource: "volumeattachments", Verb: "list"},
		}}
		review, err := f.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && review.Status.Allowed == want, err
	})
	if err != nil {
		f.Fatalf("waiting until the plugin may list volumeattachments (%t): %v", want, err)
	}
}

func (f *fixture) descriptor() cleanup.Descriptor {
	return volumes.Descriptor(kubernetes.NewForConfigOrDie(shared.RESTConfigFor(f.user)), clock.RealClock{})
}

func (f *fixture) plugin() cleanup.Plugin {
	f.Helper()
	plugin, faults := f.descriptor().Bind(nil)
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	return plugin
}

func (f *fixture) node(name string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Create(f.Context(), cluster.MakeNode(f.namespace+"-"+name, nil), metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return node
}

// attach attaches a volume to a node.
func (f *fixture) attach(volume string, node *corev1.Node) {
	f.Helper()
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-" + volume, Finalizers: []string{detaching}},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "csi.example.com", NodeName: node.Name, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
		},
	}
	if _, err := f.client.StorageV1().VolumeAttachments().Create(f.Context(), attachment, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// detach detaches a volume as the attach-detach controller and the attacher do.
func (f *fixture) detach(ctx context.Context, volume string) {
	f.Helper()
	attachments := f.client.StorageV1().VolumeAttachments()
	if err := attachments.Delete(ctx, "csi-"+volume, metav1.DeleteOptions{}); err != nil {
		f.Error(err)
	}
	if _, err := attachments.Patch(ctx, "csi-"+volume, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

// pod creates a Pod with a claim that is bound to the volume.
func (f *fixture) pod(name, volume string, node *corev1.Node, change func(*corev1.Pod)) {
	f.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: volume, StorageClassName: ptr.To(""),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	claims := f.client.CoreV1().PersistentVolumeClaims(f.namespace)
	claim, err := claims.Create(f.Context(), claim, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	claim.Status.Phase = corev1.ClaimBound
	if _, err := claims.UpdateStatus(f.Context(), claim, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
	pod := cluster.MakePod(f.namespace, name, node.Name)
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	change(pod)
	if _, err := f.client.CoreV1().Pods(f.namespace).Create(f.Context(), pod, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) target(node *corev1.Node) cleanup.Target {
	return cleanup.Target{Node: node, Attempt: 1, Began: time.Now(), IdempotencyKey: string(node.UID) + "/volumes", Log: slog.New(slog.DiscardHandler), Progress: func(text string) { f.progress <- text }}
}

// awaitProgress waits until the plugin says something with that text in it.
func (f *fixture) awaitProgress(text string) {
	f.Helper()
	limit := time.NewTimer(testTimeout)
	defer limit.Stop()
	for {
		select {
		case said := <-f.progress:
			if strings.Contains(said, text) {
				return
			}
		case <-limit.C:
			f.Fatalf("the plugin never said %q", text)
		}
	}
}

func TestWaitsOnlyForVolumesOfDrainedPods(t *testing.T) {
	f := setUp(t)
	node, other := f.node("one"), f.node("other")
	one, two, staying, elsewhere := f.namespace+"-1", f.namespace+"-2", f.namespace+"-stays", f.namespace+"-elsewhere"
	f.attach(one, node)
	f.attach(two, node)
	f.attach(staying, node)
	f.attach(elsewhere, other)
	f.pod("stays", staying, node, func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "agent", UID: "1", Controller: ptr.To(true)}}
	})
	f.pod("left", two, node, func(*corev1.Pod) {})
	ended := make(chan error, 1)
	go func() { ended <- f.plugin().Cleanup(t.Context(), f.target(node)) }()
	f.awaitProgress("2 volumes are still attached: volume " + two + " (csi.example.com), used by pod " + f.namespace + "/left; volume " + one)
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.detach(t.Context(), two)
	f.awaitProgress("1 volume is still attached: volume " + one)
	f.detach(t.Context(), one)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	events, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if event.User == f.user && event.Verb == "list" && event.Resource == "volumeattachments" {
			t.Errorf("volumeattachments were listed again: %s", event.URI)
		}
		if event.User == f.user && event.Verb != "list" && event.Verb != "watch" && event.Verb != "get" {
			t.Errorf("the plugin wrote: %s %s", event.Verb, event.URI)
		}
	}
}

// Every user with the right to create a claim can name the volume of another user in it, and can
// create a Pod that looks like one that stays.
func TestUnboundClaimDoesNotExcludeAVolume(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	volume := f.namespace + "-1"
	f.attach(volume, node)
	f.pod("forged", volume, node, func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "agent", UID: "1", Controller: ptr.To(true)}}
	})
	claims := f.client.CoreV1().PersistentVolumeClaims(f.namespace)
	for _, phase := range []corev1.PersistentVolumeClaimPhase{corev1.ClaimPending, corev1.ClaimLost} {
		if _, err := claims.Patch(t.Context(), "forged", types.MergePatchType, []byte(`{"status":{"phase":"`+string(phase)+`"}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		if undone, err := f.plugin().(cleanup.Verifier).Verify(t.Context(), f.target(node)); !strings.Contains(undone, volume) || err != nil {
			t.Errorf("while the claim is %s: %q, %v", phase, undone, err)
		}
	}
}

// Without dependsOn, this step and a drain run at the same time: the drain has yet to evict a
// pod that was there before the cordon, whatever it tolerates.
func TestWaitsForTheReplacementOfATolerantPod(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	volume := f.namespace + "-1"
	f.attach(volume, node)
	tolerant := func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		pod.Spec.Affinity = cluster.ForNode(node.Name)
	}
	f.pod("typha", volume, node, tolerant)
	ended := make(chan error, 1)
	go func() { ended <- f.plugin().Cleanup(t.Context(), f.target(node)) }()
	f.awaitProgress("volume " + volume + " (csi.example.com), used by pod " + f.namespace + "/typha")
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), "typha", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	again := cluster.MakePod(f.namespace, "typha-again", node.Name)
	again.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "typha"}}}}
	tolerant(again)
	if _, err := f.client.CoreV1().Pods(f.namespace).Create(t.Context(), again, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil { // No attachment has changed.
		t.Fatal(err)
	}
}

func TestFailedDetachIsNamedAtTheLimit(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	volume := f.namespace + "-1"
	f.attach(volume, node)
	if _, err := f.client.StorageV1().VolumeAttachments().Patch(t.Context(), "csi-"+volume, types.MergePatchType,
		[]byte(`{"status":{"attached":true,"detachError":{"message":"volume is busy","time":"2026-01-31T04:00:00Z"}}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.plugin().Cleanup(ctx, f.target(node)) }()
	f.awaitProgress("detaching failed: volume is busy")
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "detaching failed: volume is busy") || cleanup.IsPermanent(err) {
		t.Errorf("the error is %v", err)
	}
}

func TestUnreachableNodeIsReported(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"}}
	node, err := f.client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.attach(f.namespace+"-1", node)
	ended := make(chan error, 1)
	go func() { ended <- f.plugin().Cleanup(t.Context(), f.target(node)) }()
	f.awaitProgress("node.kubernetes.io/out-of-service")
	f.detach(t.Context(), f.namespace+"-1")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestReplacedNodeIsIgnored(t *testing.T) {
	f := setUp(t)
	old := f.node("one")
	if err := f.client.CoreV1().Nodes().Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := f.node("one")
	f.attach(f.namespace+"-1", again)
	if err := f.plugin().Cleanup(t.Context(), f.target(old)); !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "no longer exists") {
		t.Errorf("the error is %v", err)
	}
}

func TestMissingReadRightIsReportedAtOnce(t *testing.T) {
	f := setUp(t)
	node := f.node("one")
	f.attach(f.namespace+"-1", node)
	f.user = f.namespace + "-nobody"
	f.allow(rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}})
	plugin := f.plugin()
	for what, err := range map[string]error{
		"Cleanup":     plugin.Cleanup(t.Context(), f.target(node)),
		"CheckHealth": plugin.(cleanup.HealthChecker).CheckHealth(t.Context()),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestVerifyNamesReattachedVolumes(t *testing.T) {
	f := setUp(t)
	node := f.node("worker")
	verifier := f.plugin().(cleanup.Verifier)
	if undone, err := verifier.Verify(t.Context(), f.target(node)); undone != "" || err != nil {
		t.Errorf("without volumes: %q, %v", undone, err)
	}
	f.attach("disk", node)
	if undone, err := verifier.Verify(t.Context(), f.target(node)); !strings.Contains(undone, "disk") || err != nil {
		t.Errorf("with a volume: %q, %v", undone, err)
	}
}

// Volumes of iscsi and fc have no VolumeAttachment: the status of the Node names them.
func TestVolumesWithoutAVolumeAttachmentAreWaitedFor(t *testing.T) {
	f := setUp(t)
	node := f.node("iscsi")
	attached := func(names ...string) {
		t.Helper()
		current, err := f.client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		current.Status.VolumesAttached = nil
		for _, name := range names {
			current.Status.VolumesAttached = append(current.Status.VolumesAttached, corev1.AttachedVolume{Name: corev1.UniqueVolumeName(name), DevicePath: "/dev/sdb"})
		}
		if _, err := f.client.CoreV1().Nodes().UpdateStatus(t.Context(), current, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const disk = "10.0.0.1:3260:iqn.2026-01.com.example:disk:0"
	attached("kubernetes.io/iscsi/"+disk, "kubernetes.io/csi/csi.example.com^1")
	plugin := f.plugin()
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(node)); !strings.Contains(undone, disk) || strings.Contains(undone, "csi.example.com") || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- plugin.Cleanup(t.Context(), f.target(node)) }()
	f.awaitProgress("1 volume is still attached: volume " + disk + " (kubernetes.io/iscsi), in status.volumesAttached of the node")
	attached("kubernetes.io/csi/csi.example.com^1")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), f.target(node)); undone != "" || err != nil {
		t.Errorf("Verify says %q, %v", undone, err)
	}
}

func TestConformance(t *testing.T) {
	f := setUp(t)
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(),
		Node:       func(_ *testing.T, name string) *corev1.Node { return f.node(name) },
		Hang: func(t *testing.T, node *corev1.Node) <-chan struct{} {
			volume := node.Name + "-held"
			f.attach(volume, node)
			t.Cleanup(func() { f.detach(context.WithoutCancel(t.Context()), volume) })
			waiting := make(chan struct{})
			close(waiting)
			return waiting
		},
		Unhealthy: func(t *testing.T) {
			binding, err := f.client.RbacV1().ClusterRoleBindings().Get(t.Context(), f.user, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.client.RbacV1().ClusterRoleBindings().Delete(t.Context(), f.user, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			f.awaitRight(t.Context(), false)
			t.Cleanup(func() {
				ctx := context.WithoutCancel(t.Context())
				binding.ResourceVersion, binding.UID = "", ""
				if _, err := f.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				f.awaitRight(ctx, true)
			})
		},
	})
}
