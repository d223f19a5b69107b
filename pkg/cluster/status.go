package cluster

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// AgentStatus returns the newest status that the agent has published, or nil if there is none.
func AgentStatus(ctx context.Context, client kubernetes.Interface, namespace string) (*api.AgentStatus, error) {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, api.StatusName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the agent's status: %w", err)
	}
	return api.DecodeStatus(configMap)
}
