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

// MissingSecret is a secret that does not exist, or that lacks a key or its value.
type MissingSecret struct {
	namespace string
	key       cleanup.SecretKey
	// exists: only the key or its value is missing.
	exists bool
}

// ReadSecret returns what is missing of a key, nil if it has a value. It discards the value.
func ReadSecret(ctx context.Context, client kubernetes.Interface, namespace string, key cleanup.SecretKey) (*MissingSecret, error) {
	_, missing, err := secrets{client, namespace}.read(ctx, key)
	return missing, err
}

// Error describes what is missing.
func (m *MissingSecret) Error() string { return m.Of("") }

// Of describes what is missing of a secret that a step or notification needs, such as "step tell".
func (m *MissingSecret) Of(place string) string {
	if place != "" {
		place = " of " + place
	}
	if !m.exists {
		return fmt.Sprintf("secret %s/%s%s is missing", m.namespace, m.key.Name, place)
	}
	return fmt.Sprintf("secret %s/%s%s has no value for key %s", m.namespace, m.key.Name, place, m.key.Key)
}

// Command adds what is missing.
func (m *MissingSecret) Command() string {
	if !m.exists {
		return fmt.Sprintf("kubectl -n %s create secret generic %s --from-literal=%s=VALUE", m.namespace, m.key.Name, m.key.Key)
	}
	return fmt.Sprintf("kubectl -n %s patch secret %s --type=merge -p '{\"stringData\":{\"%s\":\"VALUE\"}}'", m.namespace, m.key.Name, m.key.Key)
}

// Secret implements cleanup.Secrets.
func (s secrets) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	value, missing, err := s.read(ctx, key)
	if missing != nil {
		return "", missing
	}
	return value, err
}

func (s secrets) read(ctx context.Context, key cleanup.SecretKey) (string, *MissingSecret, error) {
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", &MissingSecret{namespace: s.namespace, key: key}, nil
	case err != nil:
		return "", nil, fmt.Errorf("reading secret %s/%s: %w", s.namespace, key.Name, err)
	case len(secret.Data[key.Key]) == 0:
		return "", &MissingSecret{namespace: s.namespace, key: key, exists: true}, nil
	}
	return string(secret.Data[key.Key]), nil, nil
}
