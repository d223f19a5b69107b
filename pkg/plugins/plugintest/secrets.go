package plugintest

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Secrets are values for a plugin under test, by their key, or by the name of their Secret, "/" and their key.
type Secrets map[string]string

// Secret implements cleanup.Secrets.
func (s Secrets) Secret(_ context.Context, key cleanup.SecretKey) (string, error) {
	for _, name := range []string{key.Name + "/" + key.Key, key.Key} {
		if value, found := s[name]; found {
			return value, nil
		}
	}
	return "", fmt.Errorf("reading key %s of secret %s: not found", key.Key, key.Name)
}
