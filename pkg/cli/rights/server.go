package rights

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
)

// oldest minor version of Kubernetes 1 whose API servers have every API that an install uses. The
// newest of them, match conditions of webhooks, is stable since 1.30.
const oldest = 30

// ServerVersion returns the API server's version, and an error if it is too old or unavailable. An
// unknown format counts as a new version.
func ServerVersion(ctx context.Context, client kubernetes.Interface) (string, error) {
	said, err := discovery.ToServerVersionInterfaceWithContext(client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("asking the API server for its version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(said.Minor, "+"))
	if err == nil && said.Major == "1" && minor < oldest {
		return said.GitVersion, fmt.Errorf("the API server is %s, and at least 1.%d is needed", said.GitVersion, oldest)
	}
	return said.GitVersion, nil
}
