package servingcert

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// trust holds the CA bundles of a webhook configuration.
type trust struct {
	version string
	// bundles are those of our webhooks, by the name of the webhook.
	bundles map[string][]byte
}

// target is a kind of webhook configuration that trusts the CA.
type target struct {
	resource string
	read     func(context.Context, *Authority) (*trust, error)
}

func targets() []target {
	return []target{{"mutatingwebhookconfigurations", readMutating}, {"validatingwebhookconfigurations", readValidating}}
}

func readMutating(ctx context.Context, a *Authority) (*trust, error) {
	configuration, err := a.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	found := &trust{configuration.ResourceVersion, map[string][]byte{}}
	for _, one := range configuration.Webhooks {
		if one.Name == api.WebhookHook {
			found.bundles[one.Name] = one.ClientConfig.CABundle
		}
	}
	return found, nil
}

func readValidating(ctx context.Context, a *Authority) (*trust, error) {
	configuration, err := a.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	found := &trust{configuration.ResourceVersion, map[string][]byte{}}
	for _, one := range configuration.Webhooks {
		if one.Name == api.GuardHook {
			found.bundles[one.Name] = one.ClientConfig.CABundle
		}
	}
	return found, nil
}

// publish writes the bundle into the webhook configurations that have another one. It reports whether
// there was nothing to write: no configuration exists if the agent runs without admission.
func (a *Authority) publish(ctx context.Context) (already bool, err error) {
	already = true
	for _, one := range targets() {
		found, err := one.read(ctx, a)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("reading %s %s: %w", one.resource, api.WebhookName, err)
		}
		there, err := a.publishTo(ctx, one, found)
		if err != nil {
			return false, fmt.Errorf("publishing the CA in %s %s: %w", one.resource, api.WebhookName, err)
		}
		already = already && there
	}
	return already, nil
}

// publishTo reads the Secret after the configuration, and writes only if the configuration has not
// changed since. So a slow agent cannot overwrite a newer bundle with an older one.
func (a *Authority) publishTo(ctx context.Context, one target, found *trust) (already bool, err error) {
	secret, err := a.read(ctx)
	if err != nil {
		return false, err
	}
	now, err := decode(secret, a.Now())
	if err != nil {
		return false, err
	}
	var webhooks []any
	for name, bundle := range found.bundles {
		if !now.isBundle(bundle) {
			webhooks = append(webhooks, map[string]any{"name": name, "clientConfig": map[string]any{"caBundle": now.bundle()}})
		}
	}
	if len(webhooks) == 0 {
		return true, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": found.version}, "webhooks": webhooks})
	if err != nil {
		return false, err
	}
	err = a.Client.AdmissionregistrationV1().RESTClient().Patch(types.StrategicMergePatchType).
		Resource(one.resource).Name(api.WebhookName).Body(patch).Do(ctx).Error()
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, nil // The change triggers upkeep again.
	case err != nil:
		return false, err
	}
	a.Log.Info("webhook CA published", "resource", one.resource, "name", api.WebhookName)
	return false, nil
}
