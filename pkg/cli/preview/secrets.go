package preview

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// secrets reads with the operator's rights.
type secrets struct {
	client    kubernetes.Interface
	namespace string
}

// missingSecret: it is not there, or the key in it is not.
type missingSecret struct{ text string }

func (m *missingSecret) Error() string { return m.text }

// Secret implements cleanup.Secrets.
func (s secrets) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", &missingSecret{fmt.Sprintf("secret %s/%s is missing", s.namespace, key.Name)}
	}
	if err != nil {
		return "", fmt.Errorf("reading secret %s/%s: %w", s.namespace, key.Name, err)
	}
	value, found := secret.Data[key.Key]
	if !found {
		return "", &missingSecret{fmt.Sprintf("secret %s/%s has no key %s", s.namespace, key.Name, key.Key)}
	}
	return string(value), nil
}
