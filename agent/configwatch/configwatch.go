// Package configwatch loads the agent's config and keeps it current: a valid change takes effect
// at once; an invalid one is rejected, and the last valid config stays active.
package configwatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// reconsider is the time after which a rejected config is considered again: rights are granted
// without a change of the ConfigMap.
const reconsider = 10 * time.Second

// Options are the dependencies of a Watch. All are required but File and DryRun.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// File is read instead of the ConfigMap, once.
	File string
	// DryRun sets dryRun in every config.
	DryRun  bool
	Catalog []cleanup.Descriptor
	Metrics Metrics
	Status  Status
	Events  record.EventRecorder
	Log     *slog.Logger
}

// Metrics shows which config is active.
type Metrics interface {
	ActiveConfig(hash string, since time.Time)
	// ConfigReloaded counts a change of the config.
	ConfigReloaded(accepted bool)
}

// Status publishes which config is active, and why a newer one is not.
type Status interface {
	// ConfigAccepted gets the text of the ConfigMap, empty for a config from a file.
	ConfigAccepted(ctx context.Context, accepted *config.Config, text string)
	ConfigRejected(ctx context.Context, err error)
}

// Watch holds the active config.
type Watch struct {
	Options
	current atomic.Pointer[config.Config]
	// accepted is the resourceVersion of the active config. rejected is the one that was rejected
	// last, so that it is reported once, or deleted; it is empty if none was since.
	accepted, rejected string
}

// Current returns the active config. It is safe for concurrent use.
func (w *Watch) Current() *config.Config { return w.current.Load() }

// Run follows the ConfigMap until ctx ends, and calls changed after a change took effect. If the
// config comes from a file, Run returns at once.
func (w *Watch) Run(ctx context.Context, changed func()) error {
	if w.File != "" {
		return nil
	}
	return follow(ctx, w.Client, w.Namespace, api.ConfigName, reconsider,
		func(configMap *corev1.ConfigMap) { w.consider(ctx, configMap, changed) },
		func(configMap *corev1.ConfigMap) { w.onDeleted(ctx, configMap) })
}

// Follow calls changed with a ConfigMap now and after each change, until ctx
// ends; one call after the other.
func Follow(ctx context.Context, client kubernetes.Interface, namespace, name string, changed func(*corev1.ConfigMap)) error {
	return follow(ctx, client, namespace, name, 0, changed, func(*corev1.ConfigMap) {})
}

// follow is Follow, and calls deleted with the last known state of a deleted ConfigMap. If resync
// is not 0, it also calls changed each time that it has passed.
func follow(ctx context.Context, client kubernetes.Interface, namespace, name string, resync time.Duration, changed, deleted func(*corev1.ConfigMap)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, resync, informers.WithNamespace(namespace),
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

// deleted is the resourceVersion of a deleted ConfigMap.
const deleted = "deleted"

// onDeleted reports that the config was deleted. That has an effect when an agent starts.
func (w *Watch) onDeleted(ctx context.Context, configMap *corev1.ConfigMap) {
	w.accepted, w.rejected = "", deleted
	w.reject(ctx, configMap, fmt.Errorf("configmap %s/%s "+api.ConfigDeleted+". Next: restore it: "+api.RestoreConfig, configMap.Namespace, configMap.Name))
}

// consider makes the config in the ConfigMap the active one, or rejects it.
func (w *Watch) consider(ctx context.Context, configMap *corev1.ConfigMap, changed func()) {
	if configMap.ResourceVersion == w.accepted {
		return // Only a rejected config is considered again without a change.
	}
	text, found := configMap.Data[api.ConfigKey]
	parsed, err := w.parse([]byte(text))
	if !found {
		err = fmt.Errorf("configmap %s/%s "+api.ConfigHasNoKey, configMap.Namespace, configMap.Name)
	}
	isNew := err == nil && (parsed.Hash != w.Current().Hash || w.rejected != "")
	if isNew {
		err = w.permitted(ctx, parsed)
	}
	if err != nil {
		if w.rejected != configMap.ResourceVersion {
			w.rejected = configMap.ResourceVersion
			w.reject(ctx, configMap, err)
		}
		return
	}
	w.accepted, w.rejected = configMap.ResourceVersion, ""
	if isNew {
		w.Log.Info("config changed", "hash", parsed.Hash, "steps", len(parsed.Steps), "dryRun", parsed.DryRun)
		w.Metrics.ConfigReloaded(true)
		w.activate(ctx, parsed, text)
		changed()
	}
}

func (w *Watch) activate(ctx context.Context, accepted *config.Config, text string) {
	for _, warning := range accepted.Warnings {
		w.Log.Warn("the config is valid, but probably not as intended", "warning", warning.Error())
	}
	w.current.Store(accepted)
	w.Metrics.ActiveConfig(accepted.Hash, time.Now())
	w.Status.ConfigAccepted(ctx, accepted, text)
}

// reject reports why a config, or its deletion, does not take effect.
func (w *Watch) reject(ctx context.Context, configMap *corev1.ConfigMap, err error) {
	w.Log.Error("config rejected, keeping the last valid config", "err", err)
	w.Metrics.ConfigReloaded(false)
	w.Status.ConfigRejected(ctx, err)
	w.Events.Event(configMap, corev1.EventTypeWarning, "ConfigRejected", "The last valid config remains active. "+err.Error())
}
