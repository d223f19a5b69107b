package access

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestDenied(t *testing.T) {
	forbidden := func(message string) error {
		return fmt.Errorf("reading: %w", apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", errors.New(message)))
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"cluster scope":    {forbidden(`User "jane" cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope`), "create subjectaccessreviews.authorization.k8s.io"},
		"in a namespace":   {forbidden(`User "jane" cannot get resource "secrets" in API group "" in the namespace "ns": RBAC: not found`), "get secrets in namespace ns"},
		"a subresource":    {forbidden(`User "jane" cannot get resource "pods/proxy" in API group "" in the namespace "ns"`), "get pods/proxy in namespace ns"},
		"an older message": {forbidden(`User "jane" cannot create resource "nodes" in API group ""`), "create nodes"},
		"a policy":         {forbidden("no changes today"), ""},
		"another error":    {errors.New(`User "jane" cannot create resource "nodes" in API group ""`), ""},
	} {
		got := ""
		if right, is := Denied(test.err); is {
			got = Describe(right)
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
