package agent_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// An agent that runs keeps its config; the next one that starts would end.
func TestDeletedConfigKeepsTheLastValidConfig(t *testing.T) {
	f := setUp(t, logOnly)
	options, _ := f.logged()
	f.start(options)
	f.eventually("the agent has reported", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return status != nil, err
	})
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	configMap, err := configMaps.Get(t.Context(), api.ConfigName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := configMaps.Delete(t.Context(), configMap.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the status says so", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return err == nil && strings.Contains(status.ConfigError, "was deleted: an agent cannot start without a config") && status.ConfigHash != "", err
	})
	if status, err := f.status(t.Context()); err != nil || status.AcceptedConfig != configMap.Data[api.ConfigKey] {
		t.Errorf("the agent has published the config %q, %v", status.AcceptedConfig, err)
	}
	f.eventually("an Event says so", func(ctx context.Context) (bool, error) {
		events, err := f.client.CoreV1().Events(f.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(configMap.UID)})
		return err == nil && slices.ContainsFunc(events.Items, func(event corev1.Event) bool {
			return event.Reason == "ConfigRejected" && strings.Contains(event.Message, "The last valid config remains active. configmap "+f.namespace+"/nodecleanup-config was deleted")
		}), err
	})
	const inForce = "node_cleanup_config_last_reload_successful "
	if says := f.metric(options.MetricsListen, inForce); says != inForce+"0" {
		t.Errorf("the metrics say %q", says)
	}
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	configMap.ResourceVersion, configMap.UID = "", ""
	if _, err := configMaps.Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the same config, made again, is accepted", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return err == nil && status.ConfigError == "", err
	})
	f.eventually("the metrics say so", func(context.Context) (bool, error) {
		return f.metric(options.MetricsListen, inForce) == inForce+"1", nil
	})
}
