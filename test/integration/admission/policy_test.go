package admission_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// attempts are the ways in which a Node could lose its protection.
var attempts = map[string]func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error{
	"patch of nodes": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.StrategicMergePatchType, []byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["`+api.Finalizer+`"]}}`), metav1.PatchOptions{})
		return err
	},
	"patch of nodes/status": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/other"]}}`), metav1.PatchOptions{}, "status")
		return err
	},
	"update of nodes": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		changed := node.DeepCopy()
		changed.Finalizers, changed.ResourceVersion = nil, ""
		_, err := client.CoreV1().Nodes().Update(t.Context(), changed, metav1.UpdateOptions{})
		return err
	},
	"update of nodes/status": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		changed := node.DeepCopy()
		changed.Finalizers, changed.ResourceVersion = nil, ""
		_, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), changed, metav1.UpdateOptions{})
		return err
	},
	"bypass by nodes": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+api.AnnotationBypass+`":"true","`+api.AnnotationBypassBy+`":"`+nameOf(t, client)+`"}}}`), metav1.PatchOptions{})
		return err
	},
	"bypass by nodes/status": func(t *testing.T, client kubernetes.Interface, node *corev1.Node) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+api.AnnotationBypassUntil+`":"2030-01-01T00:00:00Z"}}}`), metav1.PatchOptions{}, "status")
		return err
	},
}

func TestRemovingProtectionNeedsBypass(t *testing.T) {
	f := setUp(t)
	for name, attempt := range attempts {
		t.Run(name, func(t *testing.T) {
			node := f.node("worker")
			for who, client := range map[string]kubernetes.Interface{"its own kubelet": f.kubelet("worker"), "an editor of nodes": f.as("ed", "editors")} {
				err := attempt(t, client, node)
				if !apierrors.IsForbidden(err) {
					t.Fatalf("%s was answered %v", who, err)
				}
				for _, want := range []string{"node worker would go without its cleanup", `the verb "bypass" on nodes`, "kubectl nodecleanup bypass worker"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s did not get %q: %v", who, want, err)
					}
				}
			}
			current, err := f.admin.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(current.Finalizers, node.Finalizers) || current.ResourceVersion != node.ResourceVersion {
				t.Errorf("the node was changed: %+v", current.ObjectMeta)
			}
			if err := f.admin.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := attempt(t, f.kubelet("worker"), node); !apierrors.IsForbidden(err) {
				t.Errorf("while the node terminates its kubelet was answered %v", err)
			}
			f.release(node)
		})
	}
}

// release removes a Node completely, so that the next one can have its name.
func (f *fixture) release(node *corev1.Node) {
	f.Helper()
	if _, err := f.admin.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
	if err := f.admin.CoreV1().Nodes().Delete(f.Context(), node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Fatal(err)
	}
}

func TestAgentAndOperatorsCanOverride(t *testing.T) {
	f := setUp(t)
	for name, attempt := range attempts {
		if !strings.HasPrefix(name, "patch of nodes") && !strings.HasPrefix(name, "bypass by nodes") || strings.HasSuffix(name, "status") {
			continue // They have no right to update, nor an operator one to the status.
		}
		for who, client := range map[string]kubernetes.Interface{"the agent": f.agent(), "an operator": f.as("op", "operators")} {
			node := f.node("worker")
			if err := attempt(t, client, node); err != nil {
				t.Errorf("%s, %s: %v", who, name, err)
			}
			f.release(node)
		}
	}
}

func TestTerminatingNodeStaysCordoned(t *testing.T) {
	f := setUp(t)
	node := f.node("worker")
	uncordon := func(client kubernetes.Interface) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
		return err
	}
	cordon := func() {
		t.Helper()
		if _, err := f.as("ed", "editors").CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cordon()
	if err := uncordon(f.as("ed", "editors")); err != nil {
		t.Errorf("before the deletion: %v", err)
	}
	cordon()
	if err := f.admin.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := uncordon(f.as("ed", "editors")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "node worker stays cordoned: it is being deleted") {
		t.Errorf("an editor of nodes was answered %v", err)
	}
	if err := uncordon(f.as("op", "operators")); err != nil {
		t.Errorf("an operator was answered %v", err)
	}
	f.release(node)
}

func TestKubeletCanReportItsNodeStatus(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	kubelet := f.kubelet("worker").CoreV1().Nodes()
	if _, err := kubelet.Patch(t.Context(), "worker", types.StrategicMergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("a heartbeat: %v", err)
	}
	if _, err := kubelet.Patch(t.Context(), "worker", types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.com/own":"1"}}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("an annotation of its own: %v", err)
	}
}

func TestOtherFinalizersAreUnrestricted(t *testing.T) {
	f := setUp(t)
	f.node("worker")
	if _, err := f.as("ed", "editors").CoreV1().Nodes().Patch(t.Context(), "worker", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/other"]}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("another controller's finalizer cannot be taken off: %v", err)
	}
}

func TestKubeletCannotRegisterABypassedNode(t *testing.T) {
	f := setUp(t)
	node := cluster.MakeNode("new", nil)
	node.Annotations[api.AnnotationBypass] = "true"
	if _, err := f.kubelet("new").CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "without its cleanup") {
		t.Errorf("the answer is %v", err)
	}
	delete(node.Annotations, api.AnnotationBypass)
	if _, err := f.kubelet("new").CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("without a bypass: %v", err)
	}
}

func TestViewerCanOnlyRead(t *testing.T) {
	f := setUp(t)
	node := f.node("worker")
	viewer := f.as("vi", "viewers").CoreV1()
	if _, err := viewer.Nodes().Get(t.Context(), node.Name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := viewer.Nodes().Patch(t.Context(), node.Name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a viewer who changes a node is answered %v", err)
	}
	if _, err := viewer.Secrets(api.Namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a viewer who lists secrets is answered %v", err)
	}
}
