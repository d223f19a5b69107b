package agent

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// reportStatus writes what the leader says about itself.
func reportStatus(ctx context.Context, client kubernetes.Interface, options Options, settings *config.Config, now time.Time) error {
	configMap, err := api.EncodeStatus(options.Namespace, &api.AgentStatus{
		Version:    options.Version,
		Leader:     options.Identity,
		UpdatedAt:  metav1.NewTime(now),
		ConfigHash: settings.Hash,
		DryRun:     settings.DryRun,
	})
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps(options.Namespace)
	if _, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing the agent's status to configmap %s/%s: %w", options.Namespace, api.StatusName, err)
	}
	return nil
}
