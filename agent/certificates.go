package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/servingcert"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// certificates keep the webhook trusted by the API server.
type certificates struct {
	client    kubernetes.Interface
	authority *servingcert.Authority
	keeper    *servingcert.Keeper
	log       *slog.Logger
}

func newCertificates(ctx context.Context, client kubernetes.Interface, options Options) (*certificates, error) {
	authority, err := servingcert.Ensure(ctx, client, options.Namespace, time.Now())
	if err != nil {
		return nil, err
	}
	service := api.Agent + "." + options.Namespace + ".svc"
	keeper := servingcert.NewKeeper(authority, time.Now, service, service+".cluster.local", "localhost", "127.0.0.1", "::1")
	return &certificates{client: client, authority: authority, keeper: keeper, log: options.Log}, nil
}

// publish writes the CA into the webhook configuration whenever that lacks it:
// when it is installed after the agent began, or applied again without it.
func (c *certificates) publish(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithTweakListOptions(func(list *metav1.ListOptions) {
		list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, api.WebhookName).String()
	}))
	informer := factory.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()
	due := make(chan struct{}, 1)
	note := func() {
		select {
		case due <- struct{}{}:
		default: // One look is due already.
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note() },
		UpdateFunc: func(any, any) { note() },
	}); err != nil {
		return fmt.Errorf("watching webhook configuration %s: %w", api.WebhookName, err)
	}
	go informer.RunWithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		}
		changed, err := c.authority.Publish(ctx, c.client)
		switch {
		case err != nil && ctx.Err() == nil:
			c.log.Error("the API server cannot be told the webhook's CA, trying again", "err", err)
			time.AfterFunc(publishRetry, note)
		case changed:
			c.log.Info("webhook CA published", "configuration", api.WebhookName)
		}
	}
}

// publishRetry is how long to wait after the CA could not be published.
const publishRetry = 2 * time.Second
