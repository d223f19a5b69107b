// Package admissionpolicy limits the admission policy inside the API server to the Nodes that the
// config selects.
package admissionpolicy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are the dependencies of a Publisher. All are required.
type Options struct {
	Client kubernetes.Interface
	// Config returns the active config.
	Config func() *config.Config
	Clock  clock.WithTicker
	Log    *slog.Logger
}

// Publisher writes the node selector of the config into the binding of the policy: the manifests
// do not set that field. The policy is installed without a limit, so that a Node is protected in
// case of doubt.
type Publisher struct {
	Options
	// due has an element when the config changed.
	due chan struct{}
}

// checkPeriod is the time between two checks of the binding: the policy may be installed after
// the agent started, or applied again without the limit.
const checkPeriod = 30 * time.Second

// New returns a Publisher that has written nothing.
func New(options Options) *Publisher {
	return &Publisher{Options: options, due: make(chan struct{}, 1)}
}

// Trigger requests a check, because the config changed.
func (p *Publisher) Trigger() {
	select {
	case p.due <- struct{}{}:
	default: // A check is scheduled already.
	}
}

// Run keeps the selector of the policy equal to that of the config until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	ticker := p.Clock.NewTicker(checkPeriod)
	defer ticker.Stop()
	for {
		changed, err := p.publish(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			p.Log.Error("cannot synchronize the node selector of the admission policy, retrying", "err", err)
		case changed:
			p.Log.Info("admission policy limited to the nodes that the config selects", "nodeSelector", p.Config().NodeSelector)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.due:
		case <-ticker.C():
		}
	}
}

// publish writes the selector of the config into the binding, and reports whether it changed it.
// There is no binding without the policy: on an API server older than 1.36, or by choice.
func (p *Publisher) publish(ctx context.Context) (changed bool, err error) {
	bindings := p.Client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	current, err := bindings.Get(ctx, api.WebhookName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the binding of admission policy %s: %w", api.WebhookName, err)
	}
	wanted := p.Config().NodeLabelSelector
	var found metav1.LabelSelector
	if current.Spec.MatchResources != nil && current.Spec.MatchResources.ObjectSelector != nil {
		found = *current.Spec.MatchResources.ObjectSelector
	}
	if equality.Semantic.DeepEqual(found, wanted) {
		return false, nil
	}
	add := map[string]any{"op": "add", "path": "/spec/matchResources/objectSelector", "value": wanted}
	if current.Spec.MatchResources == nil {
		add = map[string]any{"op": "add", "path": "/spec/matchResources", "value": map[string]any{"objectSelector": wanted}}
	}
	patch, err := json.Marshal([]map[string]any{{"op": "test", "path": "/metadata/resourceVersion", "value": current.ResourceVersion}, add})
	if err != nil {
		return false, fmt.Errorf("encoding the selector of admission policy %s: %w", api.WebhookName, err)
	}
	if _, err := bindings.Patch(ctx, api.WebhookName, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return false, fmt.Errorf("writing the selector of admission policy %s into its binding: %w", api.WebhookName, err)
	}
	return true, nil
}
