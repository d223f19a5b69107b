package soak_test

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// shop is the namespace of the workloads.
const shop = "shop"

// workload names: each has a budget of the same name.
var deployments, statefulSets = []string{"cart", "web", "search", "mail", "pay", "stock"}, []string{"db", "queue"}

// logged is the label of nodes with a Pod of a DaemonSet.
const logged = "example.com/logged"

const replicasOfStatefulSet = 10

// deploy creates workloads that have twice as many Pods as there are nodes.
func (w *world) deploy() {
	w.Helper()
	ctx := w.Context()
	if _, err := w.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	replicas := int32(2*(*nodeCount)/len(deployments)) + 1
	for _, name := range deployments {
		if _, err := w.admin.AppsV1().Deployments(shop).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(replicas), Selector: selector(name), Template: template(name)},
		}, metav1.CreateOptions{}); err != nil {
			w.Fatal(err)
		}
		w.budget(name, w.closed(false))
	}
	// Its Pods stay where they are.
	pods := template("logs")
	pods.Spec.NodeSelector = map[string]string{logged: "true"}
	if _, err := w.admin.AppsV1().DaemonSets(shop).Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "logs"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector("logs"), Template: pods},
	}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	for _, name := range statefulSets {
		w.statefulSet(name)
		w.budget(name, w.closed(false))
	}
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers:                    []corev1.Container{{Name: "main", Image: "localhost/pause:1"}},
			Volumes:                       []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
}

// statefulSet creates a StatefulSet with a volume for each Pod. The volume has the name of the
// claim.
func (w *world) statefulSet(name string) {
	w.Helper()
	ctx := w.Context()
	quantity := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	for i := range replicasOfStatefulSet {
		claim := fmt.Sprintf("data-%s-%d", name, i)
		if _, err := w.admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: claim},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: quantity, AccessModes: modes, ClaimRef: &corev1.ObjectReference{Namespace: shop, Name: claim},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "soak.example.com", VolumeHandle: claim}},
			},
		}, metav1.CreateOptions{}); err != nil {
			w.Fatal(err)
		}
	}
	pods := template(name)
	pods.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	if _, err := w.admin.AppsV1().StatefulSets(shop).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](replicasOfStatefulSet), Selector: selector(name), Template: pods, PodManagementPolicy: appsv1.ParallelPodManagement,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					StorageClassName: ptr.To(""), AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: quantity},
				},
			}},
		},
	}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) closed(closed bool) intstr.IntOrString {
	if closed {
		return intstr.FromInt32(0)
	}
	return intstr.FromString("30%")
}

func (w *world) budget(name string, maxUnavailable intstr.IntOrString) {
	w.Helper()
	if _, err := w.admin.PolicyV1().PodDisruptionBudgets(shop).Create(w.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &maxUnavailable, Selector: selector(name)},
	}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// setBudget closes or opens a budget.
func (w *world) setBudget(ctx context.Context, name string, closed bool) error {
	value := `"30%"`
	if closed {
		value = "0"
	}
	_, err := w.admin.PolicyV1().PodDisruptionBudgets(shop).Patch(ctx, name, types.MergePatchType,
		[]byte(`{"spec":{"maxUnavailable":`+value+`}}`), metav1.PatchOptions{})
	return err
}

// removeBudgets lets every Pod be evicted, also where no other is ready.
func (w *world) removeBudgets(ctx context.Context) error {
	err := w.admin.PolicyV1().PodDisruptionBudgets(shop).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
