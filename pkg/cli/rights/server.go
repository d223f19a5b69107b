package rights

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
)

// minMinor is the oldest supported minor version of Kubernetes 1: match conditions of webhooks became stable
// in 1.30.
const minMinor = 30

// ServerVersion returns the API server's version, and an error if it is too old or unavailable. An
// unknown format counts as a new version.
func ServerVersion(ctx context.Context, client kubernetes.Interface) (string, error) {
	version, err := discovery.ToServerVersionInterfaceWithContext(client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the API server's version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	if err == nil && version.Major == "1" && minor < minMinor {
		return version.GitVersion, fmt.Errorf("checking the API server's version: %s is too old; at least 1.%d is required", version.GitVersion, minMinor)
	}
	return version.GitVersion, nil
}
