package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// configure writes another config into the ConfigMap.
func (f *fixture) configure(config string) *corev1.ConfigMap {
	f.Helper()
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	configMap, err := configMaps.Get(f.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	configMap.Data[api.ConfigKey] = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\n" + config
	if configMap, err = configMaps.Update(f.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		f.Fatal(err)
	}
	return configMap
}

func TestChangedConfigTakesEffectWithoutARestart(t *testing.T) {
	f := setUp(t, "nodeSelector: {matchLabels: {none: none}}\nretry: {maxRetries: 0}\nsteps: [{name: step, plugin: probe, options: {do: fail}}]\n")
	f.probes["fail"] = func(context.Context, cleanup.Target) error { return errors.New("no such volume") }
	f.probes["succeed"] = func(context.Context, cleanup.Target) error { return nil }
	f.start(f.options())
	unselected, failed := f.create("unselected"), f.protected("failed")
	f.delete(failed)
	f.awaitState(failed, api.Failed)
	if api.HasFinalizer(f.read(unselected)) {
		t.Fatal("a node that is not selected has the finalizer")
	}
	f.configure("steps: [{name: step, plugin: probe, options: {do: succeed}}]\n")
	f.awaitDeleted(failed)
	f.eventually("the node is selected by the new config", func(context.Context) (bool, error) { return api.HasFinalizer(f.read(unselected)), nil })
}

func TestInvalidConfigChangeKeepsTheLastValidConfig(t *testing.T) {
	f := setUp(t, "steps: [{name: good, plugin: probe, options: {do: good}}]\n")
	ran := make(chan struct{}, 10)
	f.probes["good"] = func(context.Context, cleanup.Target) error { ran <- struct{}{}; return nil }
	f.start(f.options())
	f.eventually("the agent has reported", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return status != nil, err
	})
	before, err := f.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	configMap := f.configure("steps: [{name: bad, plugin: nothing}]\n")
	f.eventually("the status says why the config is refused", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return err == nil && strings.Contains(status.ConfigError, `steps[0].plugin: unknown plugin "nothing"`) && status.ConfigHash == before.ConfigHash, err
	})
	f.eventually("an Event on the ConfigMap says so", func(ctx context.Context) (bool, error) {
		events, err := f.client.CoreV1().Events(f.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(configMap.UID)})
		return err == nil && slices.ContainsFunc(events.Items, func(event corev1.Event) bool {
			return event.Reason == "ConfigRejected" && strings.Contains(event.Message, "unknown plugin")
		}), err
	})
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	if len(ran) != 1 {
		t.Errorf("the step of the last valid config ran %d times", len(ran))
	}
	f.configure("steps: [{name: good, plugin: probe, options: {do: good}}]\n")
	f.eventually("the fixed config is accepted, although it equals the active config", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return err == nil && status.ConfigError == "", err
	})
}
