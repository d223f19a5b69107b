package access

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestExplain(t *testing.T) {
	denied := apierrors.NewForbidden(schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}, "",
		errors.New(`User "system:serviceaccount:ns:nodecleanup-agent" cannot list resource "volumeattachments" in API group "storage.k8s.io" at the cluster scope: rbac: RBAC: clusterrole.rbac.authorization.k8s.io "nodecleanup-agent-steps" not found`))
	for want, err := range map[string]error{
		"the agent lacks rights: list volumeattachments.storage.k8s.io": fmt.Errorf("listing volumeattachments: %w", denied),
		"connection refused": errors.New("connection refused"),
	} {
		if got := Explain(err); got.Error() != want || SaysLacking(got.Error()) != (err.Error() != want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
