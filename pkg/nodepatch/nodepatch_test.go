package nodepatch

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func makeNode(change func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
	node := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid", Finalizers: []string{api.Finalizer}},
	}
	if change != nil {
		change(node)
	}
	return node
}

// The API server answers 422 for four reasons, of which one is an error.
func TestAddFinalizerExplainsARejectedPatch(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	for name, test := range map[string]struct {
		current *metav1.PartialObjectMetadata
		invalid bool
	}{
		"the node is deleted":              {current: nil},
		"the name belongs to another node": {current: makeNode(func(node *metav1.PartialObjectMetadata) { node.UID = "other" })},
		"it terminates meanwhile":          {current: makeNode(func(node *metav1.PartialObjectMetadata) { node.DeletionTimestamp = &at })},
		"it holds an invalid value":        {current: makeNode(nil), invalid: true},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := metadatafake.NewTestScheme()
			if err := metav1.AddMetaToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			var objects []runtime.Object
			if test.current != nil {
				objects = append(objects, test.current)
			}
			client := metadatafake.NewSimpleMetadataClient(scheme, objects...)
			client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Node"}, "worker", nil)
			})
			added, err := New(client).AddFinalizer(t.Context(), makeNode(nil))
			if invalid := errors.As(err, &InvalidError{}); invalid != test.invalid || !invalid && err != nil || added {
				t.Errorf("added %v, the error is %v", added, err)
			}
		})
	}
}
