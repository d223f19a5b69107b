package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// PortsError is the answer of the API server to a Service whose ports another client has changed, so that ours cannot
// be applied beside them.
type PortsError struct {
	Service string
	err     error
}

// Error names the Service.
func (e *PortsError) Error() string {
	return fmt.Sprintf("applying service/%s: %v", e.Service, e.err)
}

// Unwrap returns the answer of the API server.
func (e *PortsError) Unwrap() error { return e.err }

// portsRefused reports whether the API server refused to apply a Service because of its ports. A server-side apply
// merges ports by number and protocol, so a port whose number another client has changed stays beside ours, with the
// same name: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
func portsRefused(object *unstructured.Unstructured, err error) bool {
	if object.GetKind() != "Service" || !apierrors.IsInvalid(err) {
		return false
	}
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil && slices.ContainsFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool {
		return cause.Type == metav1.CauseTypeFieldValueDuplicate && strings.HasPrefix(cause.Field, "spec.ports[")
	})
}

// replacePorts replaces all ports of a Service, and applies it then. It returns the object as the server has it. The
// error is a conflict if the Service has changed since it was read.
func (a Applier) replacePorts(ctx context.Context, resource dynamic.ResourceInterface, object, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ports, _, err := unstructured.NestedSlice(object.Object, "spec", "ports")
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": live.GetResourceVersion()},
		"spec":     map[string]any{"ports": ports},
	})
	if err != nil {
		return nil, err
	}
	replaced, err := resource.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager, DryRun: a.dryRun()})
	if err != nil {
		return nil, fmt.Errorf("replacing the ports: %w", err)
	}
	if a.DryRun { // Nothing is stored, so the server would refuse to apply it again.
		return replaced, nil
	}
	// Otherwise the next install would conflict with this patch, if it changes the ports.
	if patch, err = csaupgrade.UpgradeManagedFieldsPatch(replaced, sets.New(api.FieldManager), api.FieldManager); err != nil {
		return nil, fmt.Errorf("reading the field managers: %w", err)
	}
	if patch != nil {
		if _, err := resource.Patch(ctx, object.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: api.FieldManager}); err != nil {
			return nil, fmt.Errorf("recording the field manager of the ports: %w", err)
		}
	}
	return resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: api.FieldManager, Force: true})
}
