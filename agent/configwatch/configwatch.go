// Package configwatch keeps the agent's config current while it runs: a good
// change takes effect at once, a bad one is refused and the last good one stays.
package configwatch

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are what a Watch works with. All are required.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// Parse checks the text of a config.
	Parse func(text []byte) (*config.Config, error)
	// Accepted is called after a change took effect.
	Accepted func(*config.Config)
	// Rejected is called for a change that was refused, with the ConfigMap
	// that holds it, or that held the last one and was deleted.
	Rejected func(*corev1.ConfigMap, error)
}

// Watch holds the config in force.
type Watch struct {
	Options
	current atomic.Pointer[config.Config]
	// refused is the resourceVersion that was refused last, so that it is said once, or gone.
	refused string
}

// New returns a watch that begins with a config.
func New(first *config.Config, options Options) *Watch {
	w := &Watch{Options: options}
	w.current.Store(first)
	return w
}

// Current returns the config in force. It may be called from any goroutine.
func (w *Watch) Current() *config.Config { return w.current.Load() }

// Run follows the ConfigMap until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	return follow(ctx, w.Client, w.Namespace, api.ConfigName, w.consider, w.lose)
}

// Follow calls changed with a ConfigMap now and after each change, until ctx
// ends; one call after the other.
func Follow(ctx context.Context, client kubernetes.Interface, namespace, name string, changed func(*corev1.ConfigMap)) error {
	return follow(ctx, client, namespace, name, changed, func(*corev1.ConfigMap) {})
}

// follow is Follow, and calls deleted with the last that was known of a ConfigMap that is gone.
func follow(ctx context.Context, client kubernetes.Interface, namespace, name string, changed, deleted func(*corev1.ConfigMap)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(list *metav1.ListOptions) {
			list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}))
	informer := factory.Core().V1().ConfigMaps().Informer()
	// The handlers of one informer are called one after the other.
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { changed(object.(*corev1.ConfigMap)) },
		UpdateFunc: func(_, object any) { changed(object.(*corev1.ConfigMap)) },
		DeleteFunc: func(object any) {
			if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = last.Obj
			}
			if configMap, is := object.(*corev1.ConfigMap); is {
				deleted(configMap)
			}
		},
	}); err != nil {
		return fmt.Errorf("watching configmap %s/%s: %w", namespace, name, err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// gone stands for a ConfigMap that was deleted where a resourceVersion could stand.
const gone = "deleted"

// lose says that the config was deleted, which takes effect when an agent starts.
func (w *Watch) lose(configMap *corev1.ConfigMap) {
	w.refused = gone
	w.Rejected(configMap, fmt.Errorf("configmap %s/%s was deleted: an agent that starts now finds no config and ends. "+
		"Make it again (kubectl nodecleanup install, or from where your configs are kept)", configMap.Namespace, configMap.Name))
}

func (w *Watch) consider(configMap *corev1.ConfigMap) {
	text, found := configMap.Data[api.ConfigKey]
	parsed, err := w.Parse([]byte(text))
	if !found {
		err = fmt.Errorf("configmap %s/%s has no key %s", configMap.Namespace, configMap.Name, api.ConfigKey)
	}
	switch {
	case err != nil && w.refused != configMap.ResourceVersion:
		w.refused = configMap.ResourceVersion
		w.Rejected(configMap, err)
	case err != nil:
	case parsed.Hash != w.Current().Hash || w.refused != "":
		w.refused = ""
		w.current.Store(parsed)
		w.Accepted(parsed)
	}
}
