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

// Publisher keeps the admission policy limited to the Nodes that config selects, in its
// binding: there nobody else who applies the manifests writes the same field. It
// is installed without a limit, so that in doubt a Node is protected.
type Publisher struct {
	Options
	// due is told when the config changed.
	due chan struct{}
}

// lookEvery is how often the policy is looked at: it may have been installed after
// the agent began, or applied again without the limit.
const lookEvery = 30 * time.Second

// Options are the dependencies of a Publisher. All are required.
type Options struct {
	Client kubernetes.Interface
	// Config returns the active config.
	Config func() *config.Config
	Clock  clock.WithTicker
	Log    *slog.Logger
}

// New returns a Publisher that has written nothing.
func New(options Options) *Publisher {
	return &Publisher{Options: options, due: make(chan struct{}, 1)}
}

// Trigger has the policy looked at soon.
func (p *Publisher) Trigger() {
	select {
	case p.due <- struct{}{}:
	default: // One look is due already.
	}
}

// Run keeps the policy's selector that of the config, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	ticker := p.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		changed, err := p.publish(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			p.Log.Error("the admission policy still selects other nodes than the config, trying again", "err", err)
		case changed:
			p.Log.Info("admission policy limited to the nodes that config selects", "nodeSelector", p.Config().NodeSelector)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.due:
		case <-ticker.C():
		}
	}
}

// publish writes the config's selector into the policy's binding, and reports whether
// that was needed: not where it is there already, nor without a policy, on a server
// older than 1.36 or by choice.
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
	var there metav1.LabelSelector
	if current.Spec.MatchResources != nil && current.Spec.MatchResources.ObjectSelector != nil {
		there = *current.Spec.MatchResources.ObjectSelector
	}
	if equality.Semantic.DeepEqual(there, wanted) {
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
