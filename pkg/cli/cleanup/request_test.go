package cleanup

import (
	"encoding/json"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The node changes between the read and the request.
func TestMark(t *testing.T) {
	requests := func(at, plan string) func(*corev1.Node) {
		return func(node *corev1.Node) {
			node.Annotations = map[string]string{api.AnnotationCleanupRequestedAt: at, api.AnnotationCleanupRequestedPlan: plan}
		}
	}
	for name, test := range map[string]struct {
		read, change func(*corev1.Node)
		first        bool
		has          string
		conflicts    bool
	}{
		"no change":                     {first: true, has: "ours"},
		"a heartbeat":                   {change: func(node *corev1.Node) { node.Labels = map[string]string{"a": "b"} }, first: true, has: "ours"},
		"a request of another user":     {change: requests("theirs", ""), has: "theirs"},
		"a request that failed before":  {read: requests("before", ""), first: true, has: "ours"},
		"another plan at the same time": {read: requests("before", "a"), change: requests("before", "b"), has: "before"},
		"a request that was withdrawn":  {read: requests("before", ""), change: func(node *corev1.Node) { node.Annotations = nil }, first: true, has: "ours"},
		"a deletion":                    {change: func(node *corev1.Node) { node.DeletionTimestamp = &metav1.Time{} }},
		"another node of this name":     {change: func(node *corev1.Node) { node.UID = "other" }, conflicts: true},
	} {
		t.Run(name, func(t *testing.T) {
			read := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid", ResourceVersion: "1"}}
			if test.read != nil {
				test.read(read)
			}
			current := read.DeepCopy()
			if test.change != nil {
				test.change(current)
				current.ResourceVersion = "2"
			}
			client := fake.NewClientset(current)
			client.PrependReactor("patch", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
				sent := &corev1.Node{}
				if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), sent); err != nil {
					t.Fatal(err)
				}
				if sent.ResourceVersion != current.ResourceVersion || sent.UID != current.UID {
					return true, nil, apierrors.NewConflict(corev1.Resource("nodes"), "worker", errors.New("changed"))
				}
				return false, nil, nil
			})
			now, first, err := mark(t.Context(), client, read, map[string]any{api.AnnotationCleanupRequestedAt: "ours", api.AnnotationCleanupRequestedPlan: nil})
			if apierrors.IsConflict(err) != test.conflicts || !test.conflicts && err != nil {
				t.Fatalf("the error is %v", err)
			}
			if err == nil && (first != test.first || now.Annotations[api.AnnotationCleanupRequestedAt] != test.has) {
				t.Errorf("first: %v, the node is %+v", first, now.ObjectMeta)
			}
		})
	}
}
