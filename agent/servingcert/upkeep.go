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
	// lookEvery is how often the clock is looked at. It is the clock on the wall, which
	// a timer does not go by while the machine is suspended.
	lookEvery = time.Minute
	// tryAgain is how long to wait after something could not be read or written.
	tryAgain = 2 * time.Second
)

// Run keeps the Secret whole, the CA young and the API server trusting it, until ctx
// ends. Failures are logged and tried again.
func (a *Authority) Run(ctx context.Context) error {
	look := make(chan struct{}, 1)
	note := func() {
		select {
		case look <- struct{}{}:
		default: // One look is scheduled already.
		}
	}
	if err := a.watch(ctx, note); err != nil {
		return err
	}
	clock := time.NewTicker(min(lookEvery, max(a.Timing.Settle, time.Millisecond)))
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-clock.C:
			if _, what, err := a.held().step(a.Now(), a.Timing, false, true); err == nil && what == "" {
				continue // Nothing to do, so no request is sent.
			}
		case <-look:
		}
		if err := a.upkeep(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error("the webhook's CA cannot be kept up, trying again", "err", err)
			time.AfterFunc(tryAgain, note)
		}
	}
}

// watch calls back after each change of the Secret and of what trusts it.
func (a *Authority) watch(ctx context.Context, note func()) error {
	informers, err := a.informers()
	if err != nil {
		return err
	}
	for what, informer := range informers {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { note() },
			UpdateFunc: func(any, any) { note() },
			DeleteFunc: func(any) { note() },
		}); err != nil {
			return fmt.Errorf("watching %s: %w", what, err)
		}
		go informer.RunWithContext(ctx)
	}
	return nil
}

// informers returns those of the Secret and of what trusts it, by what they watch. That
// something happened is enough: what it is like now is read, not stored.
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

// identity strips everything from an object but its identity.
func identity(object any) (any, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object, nil // A tombstone holds what was stripped before.
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: accessor.GetNamespace(), Name: accessor.GetName(), UID: accessor.GetUID(), ResourceVersion: accessor.GetResourceVersion(),
	}}, nil
}

// upkeep looks at everything once.
func (a *Authority) upkeep(ctx context.Context) error {
	secret, err := a.read(ctx)
	if err != nil {
		return err
	}
	stored, unusable := decode(secret, a.Now())
	if unusable != nil {
		// What is in memory is what the API server trusts, unless it has ended. Who repairs
		// it, the Secret's next event brings every agent here again.
		healthy, err := a.healthy()
		if err != nil {
			return err
		}
		healed, err := a.store(ctx, secret, healthy)
		if healed {
			a.Log.Warn("the webhook's CA was of no use and is replaced", "ends", healthy.current.certificate.NotAfter, "secret", api.CASecretName, "found", unusable)
		}
		return err
	}
	a.adopt(stored)
	published, err := a.publish(ctx)
	if err != nil {
		return err
	}
	_, asked := secret.Annotations[api.AnnotationRotate]
	after, what, err := stored.step(a.Now(), a.Timing, asked, published)
	if err != nil || what == "" {
		return err
	}
	if what == madeNext {
		delete(secret.Annotations, api.AnnotationRotate)
	}
	if done, err := a.store(ctx, secret, after); !done {
		return err
	}
	a.Log.Info("webhook CA", "rotation", what, "ends", after.current.certificate.NotAfter)
	return nil
}

// healthy returns what is held, or a new CA where that has ended.
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
