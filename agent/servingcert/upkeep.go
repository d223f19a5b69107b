package servingcert

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const (
	// checkPeriod is the time between two checks whether a certificate must be renewed. One timer for the
	// whole period would fire late: timers stop while the machine is suspended.
	checkPeriod = time.Minute
	// retryDelay is the time until a retry after a failed read or write.
	retryDelay = 2 * time.Second
)

// Run repairs the Secret, rotates the CA and publishes it to the API server, until ctx ends. It logs
// and retries failures.
func (a *Authority) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	trigger := func() {
		select {
		case changed <- struct{}{}:
		default: // A check is already pending.
		}
	}
	if err := a.watch(ctx, trigger); err != nil {
		return err
	}
	clock := time.NewTicker(min(checkPeriod, max(a.Timing.Settle, time.Millisecond)))
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-clock.C:
			if _, what, err := a.held().step(a.Now(), a.Timing, false, true); err == nil && what == "" {
				continue // Nothing to do, so no request is sent.
			}
		case <-changed:
		}
		if err := a.upkeep(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error("cannot maintain the webhook's CA, retrying", "err", err)
			time.AfterFunc(retryDelay, trigger)
		}
	}
}

// watch calls trigger after each change of the Secret and of the webhook configurations.
func (a *Authority) watch(ctx context.Context, trigger func()) error {
	informers, err := a.informers()
	if err != nil {
		return err
	}
	for what, informer := range informers {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { trigger() },
			UpdateFunc: func(any, any) { trigger() },
			DeleteFunc: func(any) { trigger() },
		}); err != nil {
			return fmt.Errorf("watching %s: %w", what, err)
		}
		go informer.RunWithContext(ctx)
	}
	return nil
}

// informers returns the informers of the Secret and of the webhook configurations, by the name of the
// object. They only notify: upkeep reads the objects itself.
func (a *Authority) informers() (map[string]cache.SharedIndexInformer, error) {
	only := func(name string) informers.SharedInformerOption {
		return informers.WithTweakListOptions(func(list *metav1.ListOptions) {
			list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		})
	}
	secrets := informers.NewSharedInformerFactoryWithOptions(a.Client, 0, only(api.CASecretName), informers.WithNamespace(a.Namespace))
	configurations := informers.NewSharedInformerFactoryWithOptions(a.Client, 0, only(api.WebhookName))
	all := map[string]cache.SharedIndexInformer{
		"secret " + api.CASecretName:                          secrets.Core().V1().Secrets().Informer(),
		"mutating webhook configuration " + api.WebhookName:   configurations.Admissionregistration().V1().MutatingWebhookConfigurations().Informer(),
		"validating webhook configuration " + api.WebhookName: configurations.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer(),
	}
	for what, informer := range all {
		if err := informer.SetTransform(identity); err != nil {
			return nil, fmt.Errorf("watching %s: %w", what, err)
		}
	}
	return all, nil
}

// identity returns only the metadata that identifies an object.
func identity(object any) (any, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object, nil // A tombstone: its object was stripped when it was stored.
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: accessor.GetNamespace(), Name: accessor.GetName(), UID: accessor.GetUID(), ResourceVersion: accessor.GetResourceVersion(),
	}}, nil
}

// upkeep checks the Secret, publishes its CA, and takes the next step of a rotation.
func (a *Authority) upkeep(ctx context.Context) error {
	secret, err := a.read(ctx)
	if err != nil {
		return err
	}
	stored, unusable := decode(secret, a.Now())
	if unusable != nil {
		// The API server trusts the CA in memory, unless that has expired. If another agent repairs
		// the Secret first, the change triggers upkeep again.
		healthy, err := a.healthy()
		if err != nil {
			return err
		}
		repaired, err := a.store(ctx, secret, healthy)
		if repaired {
			a.Log.Warn("repaired the secret of the webhook's CA", "expires", healthy.current.certificate.NotAfter, "secret", api.CASecretName, "cause", unusable)
		}
		return err
	}
	a.adopt(stored)
	published, err := a.publish(ctx)
	if err != nil {
		return err
	}
	_, requested := secret.Annotations[api.AnnotationRotate]
	after, what, err := stored.step(a.Now(), a.Timing, requested, published)
	if err != nil || what == "" {
		return err
	}
	if what == madeNext {
		delete(secret.Annotations, api.AnnotationRotate)
	}
	if done, err := a.store(ctx, secret, after); !done {
		return err
	}
	a.Log.Info("webhook CA", "rotation", what, "expires", after.current.certificate.NotAfter)
	return nil
}

// healthy returns the chain in memory, or a new one if its CA has expired.
func (a *Authority) healthy() (*chain, error) {
	held, now := a.held(), a.Now()
	if now.Before(held.current.certificate.NotAfter) {
		return held, nil
	}
	made, err := makeCA(now, a.Timing.CALife)
	if err != nil {
		return nil, err
	}
	return &chain{current: made, changedAt: now}, nil
}
