package drain_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// deployment creates a Deployment, and waits until its Pods run.
func (f *fixture) deployment(name string, replicas int32, change ...func(*appsv1.Deployment)) {
	f.Helper()
	f.newDeployment(name, replicas, change...)
	f.eventually("the Pods of deployment "+name+" run", func(ctx context.Context) (bool, error) {
		current, err := f.client.AppsV1().Deployments(f.namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && current.Status.ReadyReplicas == replicas, err
	})
}

// newDeployment creates a Deployment of Pods with the label app=name.
func (f *fixture) newDeployment(name string, replicas int32, change ...func(*appsv1.Deployment)) {
	f.Helper()
	pod := cluster.MakePod(f.namespace, name, "")
	wanted := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	for _, c := range change {
		c(wanted)
	}
	if _, err := f.client.AppsV1().Deployments(f.namespace).Create(f.Context(), wanted, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// A Pod whose template has spec.nodeName is recreated on the node despite the cordon.
func TestDeploymentRecreatingItsPodsIsNamed(t *testing.T) {
	f := setUp(t)
	f.deployment("cart", 2, func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.NodeName = f.node.Name
		deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	})
	controller := "controller Deployment " + f.namespace + "/cart puts its Pods back on this node"
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	if foreseen := slices.DeleteFunc(effects, func(effect cleanup.Effect) bool {
		return effect.Blocked == nil || effect.Blocked.Cause != cleanup.BlockedByController || !strings.HasPrefix(effect.Blocked.Message, controller)
	}); len(foreseen) != 2 {
		t.Errorf("foreseen: %v", foreseen)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.drain("") }()
	f.eventually("the drain gives up for this attempt", func(context.Context) (bool, error) {
		return f.said(" and 1 more (" + controller + "; no further eviction in this attempt)"), nil
	})
	if asked := f.requests(func(event cluster.AuditEvent) bool { return event.Subresource == "eviction" && writes(event) }); len(asked) != 6 {
		t.Errorf("%d evictions, want 2 and 4 of the Pods that came back", len(asked))
	}
	if _, err := f.client.AppsV1().Deployments(f.namespace).Patch(t.Context(), "cart", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// statefulSetOnTheNode creates a StatefulSet whose Pod tolerates the cordon and uses a local volume
// of the Node, so that the scheduler binds each Pod to that Node. It waits until the Pod runs.
func (f *fixture) statefulSetOnTheNode(name string) {
	f.Helper()
	ctx, storage := f.Context(), corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	here := []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{f.node.Name}}}
	if _, err := f.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: storage, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/mnt/disk"}},
			ClaimRef:               &corev1.ObjectReference{Namespace: f.namespace, Name: name},
			NodeAffinity:           &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: here}}}},
		},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := f.client.CoreV1().PersistentVolumeClaims(f.namespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: f.namespace, StorageClassName: ptr.To(""),
			Resources: corev1.VolumeResourceRequirements{Requests: storage},
		},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	pod := cluster.MakePod(f.namespace, name, "")
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	if _, err := f.client.AppsV1().StatefulSets(f.namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.eventually("the Pod of statefulset "+name+" runs on the node", func(ctx context.Context) (bool, error) {
		list, err := f.client.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		return err == nil && len(list.Items) == 1 && list.Items[0].Status.Phase == corev1.PodRunning && list.Items[0].Spec.NodeName == f.node.Name, err
	})
}

// Nothing in the Pod names the Node: the scheduler finds it by the volume, each time.
func TestStatefulSetPinnedByAVolumeIsNamed(t *testing.T) {
	f := setUp(t)
	scheduler := shared.Component(cluster.Scheduler)
	if err := scheduler.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := scheduler.Kill(); err != nil {
			t.Error(err)
		}
	})
	f.statefulSetOnTheNode("db")
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if want := "evict " + f.namespace + "/db-0 (controller StatefulSet " + f.namespace + "/db may put it back on this node, it tolerates the cordon)"; err != nil || len(effects) != 2 || effects[1].String() != want {
		t.Errorf("effects are %v, %v, want %q", effects, err, want)
	}
	open, ended := f.blocked("") // Between two Pods of the StatefulSet the Node is empty, so another one keeps the drain busy.
	f.eventually("the drain gives up for this attempt", func(context.Context) (bool, error) {
		return f.said("/db-0 (controller StatefulSet " + f.namespace + "/db puts its Pods back on this node; no further eviction in this attempt)"), nil
	})
	if asked := f.requests(func(event cluster.AuditEvent) bool {
		return event.Subresource == "eviction" && event.Name == "db-0" && writes(event)
	}); len(asked) != 3 {
		t.Errorf("%d evictions, want 1 and 2 of the Pods that came back", len(asked))
	}
	if _, err := f.client.AppsV1().StatefulSets(f.namespace).Patch(t.Context(), "db", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	open()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
