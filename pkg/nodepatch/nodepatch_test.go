package nodepatch

import (
	"errors"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

// invalid is the answer to an object with a value that fails validation.
func invalid() *apierrors.StatusError {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Node"}, "worker", field.ErrorList{field.Duplicate(field.NewPath("status", "addresses"), "10.0.0.1")})
}

// denied is the answer of a ValidatingAdmissionPolicy without a reason.
func denied() *apierrors.StatusError {
	err := apierrors.NewInvalid(schema.GroupKind{Kind: "Node"}, "worker", nil)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: "denied request: frozen"}}
	return err
}

func newClient(t *testing.T, answer error) Client {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	client := metadatafake.NewSimpleMetadataClient(scheme, makeNode(nil))
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, answer })
	return New(client)
}

func TestOnlyAnInvalidNodeIsAnInvalidError(t *testing.T) {
	if err := newClient(t, invalid()).RemoveFinalizer(t.Context(), makeNode(nil)); !errors.As(err, &InvalidError{}) {
		t.Errorf("an invalid node is %v", err)
	}
	if err := newClient(t, denied()).RemoveFinalizer(t.Context(), makeNode(nil)); err == nil || errors.As(err, &InvalidError{}) {
		t.Errorf("a denied patch is %v", err)
	}
	set, err := newClient(t, invalid()).SetConditions(t.Context(), makeNode(nil), []corev1.NodeCondition{{}})
	if set || err == nil || errors.As(err, &InvalidError{}) {
		t.Errorf("a condition is set %v: %v", set, err)
	}
}

// A load balancer may answer 404 without asking the API server, and a webhook may deny with 404.
func TestNotFoundOfAProxyOrWebhookIsAnError(t *testing.T) {
	proxy := apierrors.NewGenericServerResponse(http.StatusNotFound, "PATCH", schema.GroupResource{Resource: "nodes"}, "worker", "404 page not found", 0, true)
	if err := newClient(t, proxy).RemoveFinalizer(t.Context(), makeNode(nil)); err == nil {
		t.Error("the node counts as deleted")
	}
	webhook := apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, "worker")
	webhook.ErrStatus.Message = `admission webhook "inventory.example.com" denied the request: the node is not in the inventory`
	if err := newClient(t, webhook).RemoveFinalizer(t.Context(), makeNode(nil)); err == nil {
		t.Error("the node counts as deleted because of a webhook")
	}
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, "worker")
	if err := newClient(t, notFound).RemoveFinalizer(t.Context(), makeNode(nil)); err != nil {
		t.Errorf("a deleted node is %v", err)
	}
}

// The API server answers 422 for four reasons. Only one of them is an error.
func TestAddFinalizerExplainsARejectedPatch(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	for name, test := range map[string]struct {
		current *metav1.PartialObjectMetadata
		invalid bool
	}{
		"the node is deleted":              {current: nil},
		"the name belongs to another node": {current: makeNode(func(node *metav1.PartialObjectMetadata) { node.UID = "other" })},
		"it is terminating by now":         {current: makeNode(func(node *metav1.PartialObjectMetadata) { node.DeletionTimestamp = &at })},
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
				return true, nil, invalid()
			})
			added, err := New(client).AddFinalizer(t.Context(), makeNode(nil))
			if invalid := errors.As(err, &InvalidError{}); invalid != test.invalid || !invalid && err != nil || added {
				t.Errorf("added %v, the error is %v", added, err)
			}
		})
	}
}
